//! Half a minute of chaos with three agents: enough to see that the run, the faults and the checker
//! work, and that nothing obvious breaks. `make chaos` is the long one.

use std::process::Command;

use ringrift_tests::agents::Binaries;

#[test]
fn nothing_is_lost_or_doubled_in_half_a_minute_of_chaos() {
    let program = Binaries::locate(None).unwrap().agent().with_file_name("ringrift-chaos");
    let dir = tempfile::tempdir().unwrap();
    let run = Command::new(&program)
        .args(["--agents", "3", "--minutes", "0.5", "--seed", "7", "--json", "--dir"])
        .arg(dir.path())
        .output()
        .unwrap();
    let (report, story) =
        (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    println!("{story}");
    assert!(run.status.success(), "{}: {report}", run.status);
    let report: serde_json::Value = serde_json::from_str(report.trim()).unwrap();
    assert_eq!((&report["lost"], &report["doubled"]), (&0.into(), &0.into()), "{report}");
    assert_eq!(report["linearizable"], true, "{report}");
    // A run without work or without faults would hold as well.
    assert!(report["verdict"]["seen"]["completed"].as_u64() > Some(100), "{report}");
    assert!(report["faults_total"].as_u64() > Some(5), "{report}");
}
