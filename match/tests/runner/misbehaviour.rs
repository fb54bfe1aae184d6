//! Each way to fail is told apart from the others.

use ringrift_wire::pair::{Ending, GameReport, Score};
use serde_json::{Value, json};

use crate::program::{PROGRAM, calm, family, misbehaving, pair, report, run, start};

/// The first game of a pair in which the second contestant misbehaves in this way.
fn failed(kind: &str) -> GameReport {
    let mut report = report(&pair(&["own"], &misbehaving(kind), &json!({"nodes": 20})));
    let [_, second] = report.games.as_slice() else { panic!("{report:?}") };
    assert_eq!((second.ending, second.score), (Ending::Infrastructure, None));
    assert!(second.detail.as_deref().unwrap().contains("not played"), "{second:?}");
    assert_eq!(second.plies, 0);
    report.games.remove(0)
}

fn expect(kind: &str, ending: Ending, words: &[&str]) {
    let game = failed(kind);
    assert_eq!((game.ending, game.at_fault), (ending, Some(1)), "{kind}: {game:?}");
    let unscored = matches!(ending, Ending::Crash | Ending::Hang | Ending::Infrastructure);
    assert_eq!(game.score.is_none(), unscored);
    let detail = game.detail.unwrap();
    for word in words {
        assert!(detail.contains(word), "{kind}: {word:?} is not in {detail:?}");
    }
    assert!(game.pgn.contains("[Result \"*\"]"));
}

#[test]
fn a_hang_is_a_hang() {
    expect("hang", Ending::Hang, &["second", "bestmove", "2000 ms"]);
    expect("deaf", Ending::Hang, &["second", "bestmove", "2000 ms"]);
}

#[test]
fn chatter_without_a_move_is_a_hang_and_costs_no_memory() {
    let runner = start(&pair(&["own"], &misbehaving("torrent"), &json!({"nodes": 20})));
    let status = format!("/proc/{}/status", runner.id());
    let memory = std::thread::spawn(move || {
        let mut peak_kib = 0;
        while let Ok(text) = std::fs::read_to_string(&status) {
            let line = text.lines().find(|line| line.starts_with("VmHWM"));
            // A process that has just ended has no memory.
            let Some(line) = line else { break };
            peak_kib = line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap();
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        peak_kib
    });
    let output = runner.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("\"ending\":\"hang\""), "{text}");
    let peak_kib = memory.join().unwrap();
    assert!(peak_kib > 0 && peak_kib < 40 * 1024, "{peak_kib} KiB");
}

#[test]
fn a_crash_names_its_cause() {
    let words = ["second", "exit status: 3", "the board is on the table"];
    expect("crash", Ending::Crash, &words);
    expect("abort", Ending::Crash, &["second", "signal: 6"]);
    expect("exit-at-start", Ending::Crash, &["second", "uciok", "exit status: 4"]);
}

#[test]
fn a_silent_handshake_is_a_hang() {
    expect("silent-handshake", Ending::Hang, &["uciok", "5000 ms"]);
}

#[test]
fn another_protocol_is_the_machines_fault() {
    let words = ["unknown command: uci", "UCI engine?"];
    expect("bad-handshake", Ending::Infrastructure, &words);
}

#[test]
fn an_engine_that_is_not_there_is_the_machines_fault() {
    for program in ["/nowhere/engine", "no-such-program-on-the-path", "/etc/passwd", "/"] {
        let report = report(&pair(&[program], &["own"], &json!({"nodes": 20})));
        let game = &report.games[0];
        assert_eq!((game.ending, game.at_fault), (Ending::Infrastructure, Some(0)), "{game:?}");
        assert_eq!((report.games.len(), game.plies, game.score), (2, 0, None));
        let detail = game.detail.as_deref().unwrap();
        assert!(detail.contains(program) && detail.contains("os error"), "{detail}");
    }
}

#[test]
fn illegal_moves_lose() {
    for (kind, words) in [("illegal", "\"e1e8\" is not a legal move"), ("no-move", "\"(none)\"")] {
        let report = report(&pair(&["own"], &misbehaving(kind), &json!({"nodes": 20})));
        // Both games have a score, so both are played.
        assert_eq!(report.games.len(), 2);
        for game in &report.games {
            assert_eq!(game.ending, Ending::IllegalMove);
            assert_eq!((game.score, game.at_fault), (Some(Score::Win), Some(1)));
            assert!(game.detail.as_deref().unwrap().contains(words), "{game:?}");
        }
        assert!(report.games[0].pgn.contains("[Result \"1-0\"]"));
        assert!(report.games[1].pgn.contains("[Result \"0-1\"]"));
    }
}

#[test]
fn late_replies_lose_only_on_the_clock() {
    let late = misbehaving("late");
    let sound = misbehaving("stale");
    let report_timed = calm(&pair(&sound, &late, &json!({"movetime_ms": 20})));
    assert_eq!(report_timed.games.len(), 2);
    let game = &report_timed.games[0];
    assert_eq!((game.ending, game.at_fault), (Ending::TimeLoss, Some(1)), "{game:?}");
    assert_eq!(game.score, Some(Score::Win));
    assert!(game.detail.as_deref().unwrap().contains("allowed were 20 ms and a margin of"));

    let mut untimed = pair(&["own"], &late, &json!({"nodes": 20}));
    untimed["plies_max"] = json!(14);
    let report_untimed = report(&untimed);
    assert_eq!(report_untimed.games[0].ending, Ending::PlyLimit, "{report_untimed:?}");
}

#[test]
fn chatter_and_stale_answers_do_no_harm() {
    let limit = json!({"nodes": 20});
    for kind in ["flood", "stale"] {
        let mut spec = pair(&misbehaving(kind), &misbehaving(kind), &limit);
        spec["plies_max"] = json!(16);
        let report = report(&spec);
        assert_eq!(report.games.len(), 2);
        for game in &report.games {
            assert_eq!(game.ending, Ending::PlyLimit, "{kind}: {game:?}");
            assert_eq!(game.plies, 8);
        }
    }
}

#[test]
fn an_unknown_option_is_refused() {
    let mut spec = pair(&["own"], &["own"], &json!({"nodes": 20}));
    spec["contestants"][1]["options"] = json!({"Hash": "16"});
    let unknown = report(&spec);
    let game = &unknown.games[0];
    assert_eq!((game.ending, game.at_fault), (Ending::Infrastructure, Some(1)));
    assert!(game.detail.as_deref().unwrap().contains("\"Hash\""));
    spec["contestants"][1]["options"] = json!({"queen": "5000"});
    let outside = report(&spec);
    let detail = outside.games[0].detail.as_deref().unwrap();
    assert!(detail.contains("a number from 0 to 2000"), "{detail}");
}

#[test]
fn wrapped_engines_are_killed_with_their_children() {
    // The shell and its sleeping child hold the pipes open beyond the engine's life.
    let script = format!("sleep 600 & exec {PROGRAM} engine --misbehave hang");
    let runner = start(&pair(&["own"], &["sh", "-c", &script], &json!({"nodes": 20})));
    let id = runner.id();
    let watch = std::thread::spawn(move || family(id));
    let output = runner.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("\"ending\":\"hang\""), "{text}");
    let seen = watch.join().unwrap();
    // Guard, two engines, and the sleeper.
    assert!(seen.len() >= 4, "{seen:?}");
    crate::program::await_death(&seen);
}

#[test]
fn a_crash_is_seen_although_a_child_holds_the_pipe() {
    let script = format!("sleep 600 & {PROGRAM} engine --misbehave crash");
    let report = report(&pair(&["own"], &["sh", "-c", &script], &json!({"nodes": 20})));
    assert_eq!(report.games[0].ending, Ending::Crash, "{report:?}");
}

#[test]
fn bad_specs_end_with_status_2_and_the_field() {
    let mut spec = pair(&["own"], &["own"], &json!({"nodes": 20}));
    spec["contestants"][1]["limit"] = json!({"depth": 0});
    for (spec, words) in [(spec, "contestants[1].limit"), (Value::Null, "pair field")] {
        let output = run(&spec);
        assert_eq!(output.status.code(), Some(2));
        assert!(output.stdout.is_empty());
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(errors.contains(words), "{errors}");
    }
}

#[test]
fn an_engine_without_a_processor_is_not_late() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("Cpus_allowed_list:")).unwrap();
    let processor = line.split_whitespace().nth(1).unwrap().split([',', '-']).next().unwrap();
    // One processor, always busy; the engine gets it only when nobody else wants it.
    let _busy = Busy::on(processor);
    let starved = ["taskset", "--cpu-list", processor, "chrt", "--idle", "0", PROGRAM, "engine"];
    let mut spec = pair(&misbehaving("stale"), &starved, &json!({"movetime_ms": 20}));
    spec["reply_timeout_ms"] = json!(60_000);
    let report = report(&spec);
    let game = report.games.iter().find(|game| game.score.is_none()).unwrap();
    assert_eq!((game.ending, game.at_fault), (Ending::Infrastructure, None), "{game:?}");
    assert!(game.detail.as_deref().unwrap().contains("it waited for a processor"));
}

/// Keeps a processor busy.
struct Busy(std::process::Child);

impl Busy {
    fn on(processor: &str) -> Self {
        // It counts to an end of some minutes, in case that nobody kills it.
        let script = "i=0; while [ $i -lt 100000000 ]; do i=$((i+1)); done";
        let command = ["--cpu-list", processor, "sh", "-c", script];
        Self(std::process::Command::new("taskset").args(command).spawn().unwrap())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}
