//! Starts the runner, feeds it, and looks at the processes around it.

use std::fs;
use std::io::Write;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use ringrift_wire::pair::{Ending, PairReport};
use serde_json::{Value, json};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_ringrift-match");
/// Looks at a condition: a minute altogether, for machines that do much else.
const LOOKS_MAX: u32 = 6_000;
/// A pair on the clock takes a second.
const CALM_TRIES_MAX: u32 = 50;
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A pair between two argument lists, both with the limit.
pub(crate) fn pair(first: &[&str], second: &[&str], limit: &Value) -> Value {
    json!({
        "contestants": [
            {"name": "first", "argv": first, "options": {}, "limit": limit},
            {"name": "second", "argv": second, "options": {}, "limit": limit},
        ],
        "seed": 7,
        "index": 1,
        "opening_plies": 8,
        "plies_max": 60,
        "reply_timeout_ms": 2_000,
    })
}

/// The arguments of an engine that misbehaves.
pub(crate) fn misbehaving(kind: &str) -> [&str; 4] {
    [PROGRAM, "engine", "--misbehave", kind]
}

pub(crate) fn start(spec: &Value) -> Child {
    // A shell that starts something in the background has it ignore SIGINT, and that is inherited:
    // these tests must not depend on how they were started.
    let mut runner = Command::new("env")
        .args(["--default-signal=HUP,INT,QUIT", PROGRAM, "pair"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = runner.stdin.take().unwrap();
    // A runner that refuses may close its input before it has read everything.
    let _ = input.write_all(spec.to_string().as_bytes());
    runner
}

pub(crate) fn run(spec: &Value) -> Output {
    start(spec).wait_with_output().unwrap()
}

/// Plays a pair; the runner must end well and leave no process behind.
pub(crate) fn report(spec: &Value) -> PairReport {
    let runner = start(spec);
    let id = runner.id();
    let watch = thread::spawn(move || family(id));
    let output = runner.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{}: {errors}", output.status);
    await_death(&watch.join().unwrap());
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    serde_json::from_str(&text).unwrap()
}

/// Plays a pair on the clock again and again until the machine had a processor for it.
pub(crate) fn calm(spec: &Value) -> PairReport {
    for _ in 0..CALM_TRIES_MAX {
        let report = report(spec);
        if report.games.iter().all(|game| game.ending != Ending::Infrastructure) {
            return report;
        }
    }
    panic!("the machine was too busy {CALM_TRIES_MAX} times");
}

/// A process by number and start time: numbers are used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Process {
    pub(crate) id: u32,
    pub(crate) group: u32,
    parent: u32,
    started: u64,
    zombie: bool,
}

fn process(id: u32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name, in parentheses, may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    Some(Process {
        id,
        group: fields[2].parse().ok()?,
        parent: fields[1].parse().ok()?,
        started: fields[19].parse().ok()?,
        zombie: fields[0] == "Z",
    })
}

fn all() -> Vec<Process> {
    let ids = fs::read_dir("/proc").unwrap();
    ids.filter_map(|entry| process(entry.ok()?.file_name().to_str()?.parse().ok()?)).collect()
}

/// Every process that was seen as a child or in the group of a child of the runner, until the
/// runner ends.
pub(crate) fn family(runner: u32) -> Vec<Process> {
    let mut seen: Vec<Process> = Vec::new();
    for _ in 0..LOOKS_MAX {
        for member in members(runner) {
            if !seen.iter().any(|known| same(known, &member)) {
                seen.push(member);
            }
        }
        if process(runner).is_none_or(|runner| runner.zombie) {
            break;
        }
        thread::sleep(LOOK_EVERY);
    }
    seen
}

/// The children of the runner and all processes in their groups, now.
pub(crate) fn members(runner: u32) -> Vec<Process> {
    let all = all();
    let children = all.iter().filter(|process| process.parent == runner);
    let groups: Vec<u32> = children.map(|child| child.group).filter(|g| is_foreign(*g)).collect();
    all.into_iter().filter(|process| groups.contains(&process.group)).collect()
}

/// A child between fork and exec still has the group of the tests.
fn is_foreign(group: u32) -> bool {
    process(std::process::id()).is_none_or(|own| own.group != group)
}

fn same(a: &Process, b: &Process) -> bool {
    (a.id, a.started) == (b.id, b.started)
}

pub(crate) fn is_alive(known: &Process) -> bool {
    process(known.id).is_some_and(|now| same(&now, known) && !now.zombie)
}

/// Waits until the condition holds.
pub(crate) fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..LOOKS_MAX {
        if condition() {
            return;
        }
        thread::sleep(LOOK_EVERY);
    }
    panic!("still not so: {what}");
}

pub(crate) fn await_death(processes: &[Process]) {
    for process in processes {
        wait_for(&format!("{process:?} is dead"), || !is_alive(process));
    }
}
