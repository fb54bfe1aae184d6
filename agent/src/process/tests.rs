use super::*;

fn finished(ending: Ending, stdout: &str, stderr: &str) -> Finished {
    Finished { ending, is_gone: true, captured: Captured::of(stdout, stderr) }
}

#[test]
fn a_success_brings_its_object_or_the_end_of_its_output() {
    let exited = Ending::Exited { code: 0 };
    let object = finished(exited.clone(), "noise\n{\"elo\": 3}\n", "");
    assert_eq!(object.result(), json!({ "elo": 3 }));
    for text in ["plain", "[1]", "3", "{broken", ""] {
        let tail = finished(exited.clone(), text, "ignored").result();
        assert_eq!(tail, json!({ "exit_code": 0, "output_tail": text }));
    }
    let long = format!("{{\"x\":\"{}\"}}", "y".repeat(limits::RESULT_BYTES_MAX));
    let result = finished(exited, &long, "").result();
    assert!(result.get("output_tail").is_some(), "an object that is too long is no result");
    assert!(result.to_string().len() <= limits::RESULT_BYTES_MAX);
    let worst = finished(Ending::Exited { code: 0 }, &"\u{1}".repeat(limits::RESULT_BYTES_MAX), "");
    assert!(worst.result().to_string().len() <= limits::RESULT_BYTES_MAX);
}

#[test]
fn an_error_names_its_cause_and_ends_with_the_output() {
    let error = finished(Ending::Exited { code: 3 }, "out", "first\nlast\n").error();
    assert_eq!(error, "the program exited with code 3; first\nlast");
    assert_eq!(
        finished(Ending::Signalled { signal: 9 }, "", "").error(),
        "signal 9 ended the program"
    );
    let long = finished(Ending::Stopped, "", &"é".repeat(9_000)).error();
    assert!(long.len() <= limits::ERROR_BYTES_MAX && long.starts_with("the attempt was stopped; "));
    let cause = "x".repeat(9_000);
    assert!(
        finished(Ending::NotStarted { cause }, "", "").error().len() <= limits::ERROR_BYTES_MAX
    );
}

#[test]
fn the_own_executable_can_be_started_again() {
    let again = std::process::Command::new(leash::own_executable()).arg("--list").output().unwrap();
    let tests = String::from_utf8_lossy(&again.stdout);
    assert!(tests.contains("the_own_executable_can_be_started_again"), "{tests}");
}
