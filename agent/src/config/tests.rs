use clap::Parser as _;

use super::*;

/// The settings of a command line.
fn config(line: &str) -> Result<Config, ConfigError> {
    Config::from_args(args(line))
}

fn args(line: &str) -> Args {
    let words = ["ringrift-agent", "--data-dir", "/tmp/of-a-test"];
    Args::try_parse_from(words.into_iter().chain(line.split_whitespace())).unwrap()
}

fn refusal(line: &str) -> String {
    match config(line) {
        Err(error) => error.to_string(),
        Ok(config) => panic!("{line:?} must be refused, got {config:?}"),
    }
}

#[test]
fn no_flags_mean_an_own_cluster_on_loopback() {
    let config = config("").unwrap();
    assert_eq!(config.listen, "127.0.0.1:8770".parse().unwrap());
    assert_eq!((config.swim_port, config.raft_port), (7947, 4321));
    assert_eq!(config.entry, Entry::Found);
    assert_eq!(config.advertise, "127.0.0.1");
    assert!(!config.client && config.token.is_none() && config.slots >= 1);
}

#[test]
fn what_the_node_has_is_measured_unless_given() {
    let given = |line: &str| config(line).unwrap().given;
    assert_eq!(given(""), Given::default());
    assert_eq!(given("--cpus auto --memory-mib auto --gpus auto"), Given::default());
    let all = Given { cpu_milli: Some(3_500), memory_mib: Some(2_048), gpu_devices: Some(2) };
    assert_eq!(given("--cpus 3.5 --memory-mib 2048 --gpus 2"), all);
    let milli = |text: &str| given(&format!("--cpus {text}")).cpu_milli;
    assert_eq!(["0", "0.125", "65536"].map(milli), [Some(0), Some(125), Some(65_536_000)]);
}

#[test]
fn joining_takes_lists_and_addresses_in_either_form() {
    let config = config("--join a:1,http://b.c:2/ --join [::1]:3 --bootstrap").unwrap();
    let addresses = ["a:1", "b.c:2", "[::1]:3"].map(str::to_owned).to_vec();
    assert_eq!(config.entry, Entry::Join { addresses, bootstrap: true });
}

#[test]
fn of_agents_with_the_same_flags_one_bootstraps() {
    let same = "--join v-0.v:1,v-1.v:1 --bootstrap-host v-0.v";
    let bootstraps = |host: &str| match config(&format!("{same} --advertise {host}")).unwrap().entry
    {
        Entry::Join { addresses: _, bootstrap } => bootstrap,
        Entry::Found => panic!("it joins"),
    };
    assert!(bootstraps("v-0.v"));
    assert!(!bootstraps("v-1.v"));
}

#[test]
fn contradictions_name_the_setting() {
    let cases = [
        ("--bootstrap", "--bootstrap"),
        ("--client", "--client"),
        ("--client --join a:1 --bootstrap", "--bootstrap"),
        ("--cpus some", "--cpus"),
        ("--cpus 1.2345", "--cpus"),
        ("--cpus .5", "--cpus"),
        ("--cpus 65536.001", "--cpus"),
        ("--memory-mib=-1", "--memory-mib"),
        ("--gpus 65", "--gpus"),
        ("--zone a/b", "--zone"),
        ("--voters 2", "--voters"),
        ("--voters 4", "--voters"),
        ("--voters 7", "--voters"),
        ("--voters 0", "--voters"),
        ("--replace-voters-after 9", "--replace-voters-after"),
        ("--join a", "--join"),
        ("--join a:0", "--join"),
        ("--join https://a:1", "--join"),
        ("--listen gpu-7:8770", "--listen"),
        ("--listen 127.0.0.1:4321", "--raft-port"),
        ("--listen 0.0.0.0:8770 --insecure-no-token", "--advertise"),
        ("--advertise a/b", "--advertise"),
        ("--token a --token-file b", "--token-file"),
        ("--token a --insecure-no-token", "--insecure-no-token"),
        ("--token-file /nonexistent/token", "--token-file"),
        ("--slots 100000", "--slots"),
        ("--label gpu", "--label"),
        ("--label a=1,a=2", "--label"),
        ("--consensus-profile slow", "--consensus-profile"),
        ("--node-id a/b", "--node-id"),
        ("--match-program /nonexistent/runner", "--match-program"),
    ];
    for (line, setting) in cases {
        let refusal = refusal(line);
        assert!(refusal.contains(setting), "{line:?} answered {refusal:?}");
    }
}

#[test]
fn capabilities_are_names_in_lists_or_one_by_one() {
    let given = |line: &str| Vec::from_iter(config(line).unwrap().capabilities);
    assert_eq!(given("--capability cuda,avx512 --capability cuda,,x"), ["avx512", "cuda", "x"]);
    assert!(given("").is_empty());
    let most = (0..limits::NEEDS_MAX).map(|n| format!("c{n}")).collect::<Vec<_>>().join(",");
    assert_eq!(given(&format!("--capability {most}")).len(), limits::NEEDS_MAX);
    assert!(refusal(&format!("--capability {most},more")).contains("--capability is given"));
    let long = "x".repeat(limits::NAME_BYTES_MAX + 1);
    assert!(refusal(&format!("--capability {long}")).contains("--capability is \"x"));
}

#[test]
fn beyond_loopback_a_token_is_needed() {
    let open = refusal("--listen 10.0.0.1:8770");
    assert!(open.contains("10.0.0.1:8770") && open.contains("--token-file"), "{open}");
    assert!(config("--listen 10.0.0.1:8770 --insecure-no-token").is_ok());
    let guarded = config("--listen 10.0.0.1:8770 --token s3cret").unwrap();
    assert_eq!(guarded.token.as_ref().map(ClusterToken::reveal), Some("s3cret"));
    assert!(!format!("{guarded:?}").contains("s3cret"), "a token is never printed");
}

#[test]
fn a_token_file_is_trimmed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    fs::write(&path, "s3cret\n").unwrap();
    let config = config(&format!("--token-file {}", path.display())).unwrap();
    assert_eq!(config.token.as_ref().map(ClusterToken::reveal), Some("s3cret"));
    fs::write(&path, "two words\n").unwrap();
    assert!(refusal(&format!("--token-file {}", path.display())).contains("--token-file"));
}

#[test]
fn the_data_directory_follows_the_convention() {
    let path = |text: &str| Some(OsString::from(text));
    let found = |xdg, home| data_directory(None, xdg, home).unwrap();
    assert_eq!(found(path("/x"), path("/h")), PathBuf::from("/x/ringrift"));
    assert_eq!(found(path("x"), path("/h")), PathBuf::from("/h/.local/state/ringrift"));
    assert_eq!(found(path(""), path("/h")), PathBuf::from("/h/.local/state/ringrift"));
    assert!(data_directory(None, None, None).is_err());
}

#[test]
fn the_voters_are_one_three_or_five_and_replacement_can_be_left_to_operators() {
    let policy = |line: &str| config(line).unwrap().voters;
    assert_eq!(policy("").wanted.get(), 3);
    assert_eq!(policy("").rules.silence, Some(Span::seconds(60)));
    assert_eq!(policy("--voters 1").wanted.get(), 1);
    assert_eq!(policy("--voters 5").wanted.get(), 5);
    assert_eq!(policy("--replace-voters-after 0").rules.silence, None);
    assert_eq!(policy("--replace-voters-after 600").rules.silence, Some(Span::seconds(600)));
    assert!(refusal("--voters 4").contains("is 4; 1, 3 or 5"), "{}", refusal("--voters 4"));
}
