//! Engines never outlive the runner, however it ends.

use std::process::Child;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::program::{
    PROGRAM, Process, await_death, is_alive, members, misbehaving, pair, start, wait_for,
};

/// A runner in the middle of a game that will not end, and the processes around it.
fn playing(second: &[&str]) -> (Child, Vec<Process>) {
    let mut spec = pair(&misbehaving("hang"), second, &json!({"nodes": 20}));
    spec["reply_timeout_ms"] = json!(600_000);
    let runner = start(&spec);
    let mut seen = Vec::new();
    wait_for("guard and engines run", || {
        seen = members(runner.id());
        seen.len() >= 3
    });
    (runner, seen)
}

fn name(process: &Process) -> String {
    let path = format!("/proc/{}/comm", process.id);
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn signal(id: u32, signal: Signal) {
    let id = Pid::from_raw(i32::try_from(id).unwrap()).unwrap();
    kill_process(id, signal).unwrap();
}

#[test]
fn engines_die_with_the_runner() {
    for how in [Signal::TERM, Signal::INT, Signal::HUP, Signal::ABORT, Signal::KILL] {
        let (mut runner, seen) = playing(&misbehaving("hang"));
        assert!(seen.iter().all(is_alive));
        signal(runner.id(), how);
        runner.wait().unwrap();
        await_death(&seen);
    }
}

#[test]
fn engines_that_started_others_die_with_them() {
    let script = format!("sleep 600 & {PROGRAM} engine --misbehave hang");
    let (mut runner, _) = playing(&["sh", "-c", &script]);
    let mut seen = Vec::new();
    // Guard, first engine, shell, sleeper, second engine.
    wait_for("the script has started its children", || {
        seen = members(runner.id());
        seen.len() == 5 && seen.iter().any(|process| name(process) == "sleep")
    });
    signal(runner.id(), Signal::KILL);
    runner.wait().unwrap();
    await_death(&seen);
}

#[test]
fn engines_die_with_the_runner_also_without_the_guard() {
    let (mut runner, seen) = playing(&misbehaving("hang"));
    let guard = seen.iter().find(|process| process.id == process.group).unwrap();
    signal(guard.id, Signal::KILL);
    wait_for("the guard is dead", || !is_alive(guard));
    let engines: Vec<Process> = seen.iter().filter(|p| p.id != guard.id).copied().collect();
    assert!(engines.iter().all(is_alive));
    signal(runner.id(), Signal::KILL);
    runner.wait().unwrap();
    await_death(&engines);
}

#[test]
fn engines_yield_to_the_rest_of_the_machine() {
    let (mut runner, seen) = playing(&misbehaving("hang"));
    let engine = seen.iter().find(|process| process.id != process.group).unwrap();
    let id = Pid::from_raw(i32::try_from(engine.id).unwrap());
    wait_for("the engine is nice", || {
        rustix::process::getpriority_process(id).is_ok_and(|nice| nice >= 10)
    });
    signal(runner.id(), Signal::TERM);
    runner.wait().unwrap();
    await_death(&seen);
}

#[test]
fn a_guard_outside_a_group_of_its_own_kills_nobody() {
    let status = std::process::Command::new(PROGRAM)
        .arg("guard")
        .stdin(std::process::Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(1));
}

#[test]
fn a_leash_without_its_runner_starts_nothing() {
    let output = std::process::Command::new(PROGRAM)
        .args(["leash", "--parent", "1", "--", "/bin/echo", "started"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(127));
    assert!(output.stdout.is_empty());
}
