//! Real process trees under the real leash.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::future::{pending, ready};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ringrift_agent::clock::since_boot;
use ringrift_agent::process::{
    Attempt, Deadline, Ending, Finished, LOG_BYTES_MAX, TAIL_BYTES, inherited_environment, run,
};
use serde_json::json;
use tokio::sync::watch;

/// Generous: a loaded machine is slow, and only outcomes are under test here.
const PATIENCE: Duration = Duration::from_secs(30);

struct Bench {
    root: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap() }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn attempt(&self, argv: &[&str]) -> Attempt {
        let mut env = inherited_environment();
        env.insert("OUTSIDE".to_owned(), self.root.path().to_str().unwrap().to_owned());
        Attempt {
            leash: PathBuf::from(env!("CARGO_BIN_EXE_ringrift-agent")),
            argv: argv.iter().map(|word| (*word).to_owned()).collect(),
            env,
            directory: self.at("attempt"),
            log: self.at("w1.log"),
            stdin: Vec::new(),
            timeout: PATIENCE,
            begun: since_boot(),
        }
    }

    fn shell(&self, script: &str) -> Attempt {
        self.attempt(&["sh", "-c", script])
    }

    /// Waits until the scripts have written that many process numbers into `pids`.
    async fn pids(&self, count: usize) -> Vec<i32> {
        let path = self.at("pids");
        wait_until(|| lines(&path).len() == count).await;
        lines(&path).iter().map(|line| line.trim().parse().unwrap()).collect()
    }
}

fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    // A line without its end is still being written.
    text.split_inclusive('\n').filter(|line| line.ends_with('\n')).map(str::to_owned).collect()
}

async fn wait_until(condition: impl Fn() -> bool) {
    let reached = tokio::time::timeout(PATIENCE, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    reached.await.expect("the condition was not reached");
}

/// A zombie is no longer a process that does anything, but it must not be left either.
fn is_there(pid: i32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// A deadline that never comes.
fn never() -> Deadline {
    Deadline::new(watch::channel(Duration::MAX).1, Duration::ZERO)
}

async fn to_the_end(attempt: &Attempt) -> Finished {
    run(attempt, never(), pending()).await
}

#[tokio::test]
async fn an_object_on_the_last_line_is_the_result() {
    let bench = Bench::new();
    let finished =
        to_the_end(&bench.shell("echo noise; echo '{\"elo\": 12}'; echo more >&2")).await;
    assert_eq!((&finished.ending, finished.is_gone), (&Ending::Exited { code: 0 }, true));
    assert_eq!(finished.result(), json!({ "elo": 12 }));
    let log = std::fs::read_to_string(bench.at("w1.log")).unwrap();
    assert!(log.contains("noise\n") && log.contains("more\n"), "{log:?}");
    assert!(!bench.at("attempt").exists(), "the directory goes with the attempt");
}

#[tokio::test]
async fn every_cause_is_told_apart() {
    let bench = Bench::new();
    let failed = to_the_end(&bench.shell("echo why >&2; exit 3")).await;
    assert_eq!(failed.error(), "the program exited with code 3; why");

    let killed = to_the_end(&bench.shell("kill -SEGV $$")).await;
    assert_eq!(killed.ending, Ending::Signalled { signal: 11 });
    let ended = to_the_end(&bench.shell("kill -TERM $$")).await;
    assert_eq!(ended.ending, Ending::Signalled { signal: 15 }, "as the program's, not the leash's");

    let missing = to_the_end(&bench.attempt(&["/nonexistent/program"])).await;
    let Ending::NotStarted { cause } = &missing.ending else { panic!("{:?}", missing.ending) };
    assert!(cause.contains("/nonexistent/program"), "{cause}");

    let no_leash = Attempt { leash: PathBuf::from("/nonexistent"), ..bench.shell("true") };
    assert!(matches!(to_the_end(&no_leash).await.ending, Ending::NotStarted { .. }));

    let after = Duration::from_secs(2);
    let slow = to_the_end(&Attempt { timeout: after, ..bench.shell("exec sleep 600") }).await;
    assert_eq!(slow.ending, Ending::TimedOut { after });

    let stopped = run(&bench.shell("exec sleep 600"), never(), ready(PATIENCE)).await;
    assert_eq!(stopped.ending, Ending::Stopped);
}

#[tokio::test]
async fn a_program_gets_its_input_directory_and_environment_and_nothing_else() {
    let bench = Bench::new();
    let input = vec![b'x'; 300_000];
    let counted = Attempt { stdin: input.clone(), ..bench.shell("wc -c; pwd") };
    let result = to_the_end(&counted).await.result();
    let tail = result["output_tail"].as_str().unwrap();
    assert_eq!(tail.lines().next().unwrap().trim(), "300000");
    assert!(tail.trim_end().ends_with("/attempt"), "{tail}");

    // A program that does not read its input ends all the same.
    let unread = to_the_end(&Attempt { stdin: input, ..bench.shell("exit 0") }).await;
    assert_eq!(unread.ending, Ending::Exited { code: 0 });

    let env = BTreeMap::from([("ONLY".to_owned(), "this".to_owned())]);
    let shown = to_the_end(&Attempt { env, ..bench.attempt(&["/usr/bin/env"]) }).await;
    assert_eq!(shown.result()["output_tail"], "ONLY=this\n");
}

#[tokio::test]
async fn a_forced_end_reaches_the_whole_tree() {
    let bench = Bench::new();
    // A child that ignores the polite signal, a grandchild, and one in a session of its own.
    let script = "trap '' TERM; echo $$ >> $OUTSIDE/pids;
        sh -c 'echo $$ >> $OUTSIDE/pids; sleep 600 & echo $! >> $OUTSIDE/pids; wait' &
        setsid sh -c 'trap \"\" TERM; echo $$ >> $OUTSIDE/pids; sleep 600; sleep 600' &
        sleep 600; sleep 600; sleep 600";
    let stop = async {
        bench.pids(4).await;
        Duration::from_millis(200)
    };
    let finished = run(&bench.shell(script), never(), stop).await;
    assert_eq!((&finished.ending, finished.is_gone), (&Ending::Stopped, true));
    for pid in bench.pids(4).await {
        assert!(!is_there(pid), "{pid} was left");
    }
}

#[tokio::test]
async fn what_a_program_leaves_behind_ends_with_it() {
    let bench = Bench::new();
    let script = "sleep 600 & echo $! >> $OUTSIDE/pids;
        setsid sleep 600 & echo $! >> $OUTSIDE/pids; exit 0";
    let finished = to_the_end(&bench.shell(script)).await;
    assert_eq!(finished.ending, Ending::Exited { code: 0 });
    for pid in bench.pids(2).await {
        assert!(!is_there(pid), "{pid} was left");
    }
}

#[tokio::test]
async fn a_program_may_use_its_grace() {
    let bench = Bench::new();
    let script = "trap 'echo \"{\\\"saved\\\": true}\"; exit 0' TERM;
        echo $$ >> $OUTSIDE/pids; while :; do sleep 0.05; done";
    let attempt = bench.shell(script);
    let stop = async {
        bench.pids(1).await;
        PATIENCE
    };
    let finished = run(&attempt, never(), stop).await;
    assert_eq!(
        (&finished.ending, finished.object()),
        (&Ending::Stopped, Some(json!({ "saved": true })))
    );
}

#[tokio::test]
async fn dropping_the_run_kills_the_tree() {
    let bench = Bench::new();
    let script = "echo $$ >> $OUTSIDE/pids; sleep 600 & echo $! >> $OUTSIDE/pids; wait";
    let attempt = bench.shell(script);
    let pids = tokio::select! {
        finished = to_the_end(&attempt) => panic!("ended by itself: {finished:?}"),
        pids = bench.pids(2) => pids,
    };
    wait_until(|| !pids.iter().any(|pid| is_there(*pid))).await;
}

#[tokio::test]
async fn a_leash_outlives_polite_signals_and_its_own_death_is_noticed() {
    let bench = Bench::new();
    let script = "echo $PPID >> $OUTSIDE/pids; echo $$ >> $OUTSIDE/pids; exec sleep 600";
    let attempt = bench.shell(script);
    let kill_leash = async {
        let pids = bench.pids(2).await;
        let leash = rustix::process::Pid::from_raw(pids[0]).unwrap();
        rustix::process::kill_process(leash, rustix::process::Signal::TERM).unwrap();
        rustix::process::kill_process(leash, rustix::process::Signal::INT).unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(is_there(pids[0]) && is_there(pids[1]));
        rustix::process::kill_process(leash, rustix::process::Signal::KILL).unwrap();
        pids
    };
    let (finished, pids) = tokio::join!(to_the_end(&attempt), kill_leash);
    assert_eq!(finished.ending, Ending::Lost);
    wait_until(|| !is_there(pids[1])).await;
}

#[tokio::test]
async fn a_flood_of_output_is_bounded_and_its_end_is_kept() {
    let bench = Bench::new();
    let script =
        "echo first; yes abcdefghijklmnopqrstuvwxyz | head -c 8000000; echo; echo '{\"n\": 1}'";
    let finished = to_the_end(&bench.shell(script)).await;
    assert_eq!(finished.result(), json!({ "n": 1 }));
    let log = std::fs::read_to_string(bench.at("w1.log")).unwrap();
    assert!(log.len() < LOG_BYTES_MAX + 2 * TAIL_BYTES + 200, "{}", log.len());
    assert!(log.starts_with("first\n") && log.ends_with("{\"n\": 1}\n"));
    assert!(log.contains("bytes were cut here"));
}

/// The agent of this test is its own thread, which hangs from the start of the program on.
#[tokio::test]
async fn a_program_ends_at_its_deadline_although_the_agent_hangs() {
    let bench = Bench::new();
    let script = "trap '' TERM; echo $$ >> $OUTSIDE/pids;
        setsid sleep 600 & echo $! >> $OUTSIDE/pids; sleep 600; sleep 600";
    let attempt = bench.shell(script);
    let (until, held) = watch::channel(since_boot() + Duration::from_secs(6));
    let renewed = since_boot() + Duration::from_secs(7);
    let hang = async {
        let pids = bench.pids(2).await;
        until.send(renewed + Duration::from_secs(1)).unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        while since_boot() < renewed + PATIENCE && pids.iter().any(|pid| is_there(*pid)) {
            std::thread::sleep(Duration::from_millis(5));
        }
        pids
    };
    let deadline = Deadline::new(held, Duration::from_secs(1));
    let (finished, pids) = tokio::join!(run(&attempt, deadline, pending()), hang);
    assert_eq!((&finished.ending, finished.is_gone), (&Ending::LeaseEnded, true));
    assert!(since_boot() >= renewed, "not before the deadline that was renewed");
    assert!(pids.into_iter().all(|pid| !is_there(pid)));
}

#[tokio::test]
async fn nothing_begins_after_its_deadline() {
    let bench = Bench::new();
    let (_until, held) = watch::channel(since_boot());
    let attempt = bench.shell("touch $OUTSIDE/begun");
    let finished = run(&attempt, Deadline::new(held, Duration::ZERO), pending()).await;
    assert!(matches!(finished.ending, Ending::NotStarted { .. }), "{:?}", finished.ending);
    assert!(!bench.at("begun").exists());
}

#[tokio::test]
async fn what_ignores_the_polite_signal_is_gone_when_its_time_is_over() {
    let bench = Bench::new();
    let timeout = Duration::from_secs(4);
    let deaf = bench.shell("trap '' TERM; echo $$ >> $OUTSIDE/pids; while :; do sleep 0.1; done");
    // A second of its time is over already.
    let attempt = Attempt { timeout, begun: since_boot() - Duration::from_secs(1), ..deaf };
    let finished = to_the_end(&attempt).await;
    assert!(since_boot() < attempt.begun + timeout + Duration::from_secs(1));
    assert_eq!(finished.ending, Ending::TimedOut { after: timeout });
    assert!(!is_there(bench.pids(1).await[0]));
}
