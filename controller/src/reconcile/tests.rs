//! The stages that ask nobody, from minimal objects through the real validate step.

use k8s_openapi::jiff::Timestamp;
use ringrift_crds::condition::{ConditionType, Reason};
use ringrift_crds::{Gauntlet, Job, Status, Tournament};
use ringrift_wire::pair::Limit;
use ringrift_wire::problem::{Code, Problem};
use ringrift_wire::run::{MatchupStatus, Model, RunSpec, RunStatus};
use ringrift_wire::work::{Pending, Resources};

use super::digest::{cut, differs, digest, is_true, malformed};
use super::*;

const UID: &str = "0a1b2c3d-0000-4000-8000-000000000001";

fn object<K: Kind>(yaml: &str) -> K {
    let mut object: K = serde_saphyr::from_str(yaml).expect("a well-formed object");
    object.meta_mut().uid = Some(UID.to_owned());
    object
}

fn gauntlet() -> Gauntlet {
    object(
        "
        metadata: {name: promote-me, namespace: lab}
        spec:
          candidate: {name: new, command: [own], nodes: 1000}
          baselines: [{name: old, command: [/bin/engine, --uci], depth: 3, options: {Hash: '16'}}]
          stop: {pairsMin: 2, pairsMax: 9, model: Logistic, elo0Milli: -5000, elo1Milli: 5000}
          queue: research
          resources: {cpuMilli: 500, gpuMilli: 2000, memoryMib: 64, diskFreeMib: 9}
        ",
    )
}

fn seen(phase: &str) -> RunStatus {
    RunStatus {
        run_id: format!("gauntlet-{UID}"),
        queue: "team".to_owned(),
        resources: Resources::default(),
        kind: "gauntlet".to_owned(),
        phase: phase.to_owned(),
        version: 3,
        log_index: 40,
        submitted_at: 1_700_000_000.25,
        ended_at: (phase != "active").then_some(1_700_000_100.75),
        done: 7,
        total: 9,
        running: 2,
        failed: 1,
        message: "7 of 9 pairs".to_owned(),
        waits: Vec::new(),
        verdict: (phase == "succeeded").then(|| "promote".to_owned()),
        reason: (phase == "failed").then(|| "PairUnplayable".to_owned()),
        matchups: vec![MatchupStatus {
            contestants: ["new".to_owned(), "old".to_owned()],
            pairs_done: 7,
            pairs_used: 6,
            pairs_max: 9,
            pentanomial: [0, 1, 2, 2, 1],
            wins: 6,
            draws: 3,
            losses: 3,
            score: 0.625,
            elo: Some(35.21),
            elo_error: Some(20.06),
            los: Some(0.99),
            llr: Some(1.5),
            llr_bounds: Some([-2.944, 2.944]),
            decision: Some("accept_h1".to_owned()),
        }],
        standings: Vec::new(),
        failures: Vec::new(),
    }
}

fn told(before: &Status, finding: &Finding<'_>, second: i64) -> Status {
    let now = Timestamp::new(second, 999_000_000).unwrap();
    digest(before, Some(1), &format!("gauntlet-{UID}"), finding, now)
}

fn condition(status: &Status, type_: ConditionType) -> (String, String, i64) {
    let found = status.conditions.iter().find(|one| one.type_ == type_.as_str());
    let found = found.unwrap_or_else(|| panic!("{type_} is missing"));
    (found.status.clone(), found.reason.clone(), found.last_transition_time.0.as_second())
}

/// What the API server makes of a status: the text, read back.
fn stored(status: &Status) -> Status {
    serde_json::from_value(serde_json::to_value(status).unwrap()).unwrap()
}

#[test]
fn a_gauntlet_is_told_in_the_agents_words() {
    let valid = validate::validate(&gauntlet()).unwrap();
    assert_eq!((valid.run_id, valid.queue.as_str()), (format!("gauntlet-{UID}"), "research"));
    let RunSpec::Gauntlet(spec) = valid.spec else { panic!("a gauntlet") };
    assert_eq!(spec.candidate.limit, Limit::Nodes(1_000));
    assert_eq!(spec.baselines[0].limit, Limit::Depth(3));
    assert_eq!(spec.baselines[0].argv, ["/bin/engine", "--uci"]);
    assert_eq!(spec.baselines[0].options["Hash"], "16");
    assert_eq!((spec.stop.pairs_min, spec.stop.pairs_max), (2, 9));
    assert_eq!((spec.stop.elo0_milli, spec.stop.elo1_milli), (-5_000, 5_000));
    assert_eq!(spec.stop.model, Model::Logistic);
    let asked = Resources { cpu: 0.5, memory_mib: 64, gpus: 2.0, disk_free_mib: 9 };
    assert_eq!(spec.resources, asked);
}

#[test]
fn defaults_are_those_of_the_agents() {
    let given: Gauntlet = object(
        "
        metadata: {name: g}
        spec:
          candidate: {name: new, command: [own], nodes: 1}
          baselines: [{name: old, command: [own], nodes: 1}]
        ",
    );
    let RunSpec::Gauntlet(spec) = given.run_spec().unwrap() else { panic!("a gauntlet") };
    assert_eq!(spec.play, ringrift_wire::run::Play::default());
    assert_eq!(spec.stop, ringrift_wire::run::Stop::default());
    assert_eq!(spec.resources, Resources::default());
    let given: Job = object("{metadata: {name: j}, spec: {command: [/bin/true]}}");
    assert_eq!(given.queue(), ringrift_wire::run::default_queue());
    let by_agents = serde_json::json!({ "argv": ["/bin/true"] });
    let by_agents: ringrift_wire::run::JobSpec = serde_json::from_value(by_agents).unwrap();
    assert_eq!(given.run_spec().unwrap(), RunSpec::Job(by_agents));
}

#[test]
fn what_the_agents_could_not_take_is_refused_by_the_fields_name() {
    let mut given = gauntlet();
    given.spec.baselines[0].nodes = Some(5);
    let refused = validate::validate(&given).unwrap_err().to_string();
    assert!(refused.starts_with("spec.baselines[0] must have exactly one of"), "{refused}");
    let mut given = gauntlet();
    given.spec.play.opening_plies = -1;
    let refused = validate::validate(&given).unwrap_err().to_string();
    assert!(refused.starts_with("spec.play.openingPlies must be"), "{refused}");
    assert!(refused.ends_with("is -1"), "{refused}");
    let mut given = gauntlet();
    given.spec.resources.gpu_milli = -250;
    let refused = validate::validate(&given).unwrap_err().to_string();
    assert!(refused.starts_with("spec.resources.gpuMilli must be"), "{refused}");
}

#[test]
fn each_kind_says_what_its_items_reserve() {
    let asked = Resources { memory_mib: 32, gpus: 0.25, ..Resources::default() };
    let given: Job = object(
        "
        metadata: {name: j}
        spec: {command: [/bin/true], resources: {memoryMib: 32, gpuMilli: 250}}
        ",
    );
    let RunSpec::Job(spec) = given.run_spec().unwrap() else { panic!("a job") };
    assert_eq!(spec.resources, asked);
    let given: Tournament = object(
        "
        metadata: {name: t}
        spec:
          contestants: [{name: a, command: [own], nodes: 1}, {name: b, command: [own], nodes: 1}]
          resources: {memoryMib: 32, gpuMilli: 250}
        ",
    );
    let RunSpec::Tournament(spec) = given.run_spec().unwrap() else { panic!("a tournament") };
    assert_eq!(spec.resources, asked);
}

#[test]
fn the_examples_are_what_the_definitions_accept() {
    fn check<K>(text: &str, finds: impl Fn(&RunSpec) -> bool)
    where
        K: Kind + kube::CustomResourceExt + serde::Serialize,
    {
        let example: K = object(text);
        kube::core::cel::validate_cel(&example).expect("the rules hold");
        assert!(finds(&example.run_spec().expect("a run")));
    }
    check::<Gauntlet>(
        include_str!("../../../examples/gauntlet.yaml"),
        |spec| matches!(spec, RunSpec::Gauntlet(spec) if spec.baselines.len() == 2),
    );
    check::<Job>(
        include_str!("../../../examples/job.yaml"),
        |spec| matches!(spec, RunSpec::Job(spec) if spec.completions == 20),
    );
    check::<Tournament>(
        include_str!("../../../examples/tournament.yaml"),
        |spec| matches!(spec, RunSpec::Tournament(spec) if spec.contestants.len() == 3),
    );
}

#[test]
fn a_run_that_the_agents_have_is_not_submitted_again() {
    let valid = || validate::validate(&gauntlet()).unwrap();
    let known = build::build(valid(), Some(seen("active"))).into_parts();
    assert!(matches!(known, build::Prepared::Known(run) if run.done == 7));
    let missing = build::build(valid(), None).into_parts();
    assert!(matches!(missing, build::Prepared::Missing(submit)
        if submit.run_id.ends_with(UID) && submit.queue == "research"));
}

#[test]
fn progress_is_told_in_figures_and_conditions() {
    let status = told(&Status::default(), &Finding::Seen(&seen("active")), 5);
    assert_eq!(status.progress.as_deref(), Some("7/9"));
    assert_eq!(status.elo.as_deref(), Some("+35.2 ± 20.1"));
    assert_eq!(status.matchups[0].llr.as_deref(), Some("1.50 (-2.94, 2.94)"));
    assert_eq!(status.matchups[0].decision.as_deref(), Some("AcceptH1"));
    assert_eq!((status.running, status.failed, status.verdict.clone()), (Some(2), Some(1), None));
    let unfinished = ("False".to_owned(), "ItemsRunning".to_owned(), 5);
    assert_eq!(condition(&status, ConditionType::Complete), unfinished);
    assert_eq!(condition(&status, ConditionType::Failed), unfinished);
    assert_eq!(condition(&status, ConditionType::Running).0, "True");
    assert!(!has_ended_with(status));
}

#[test]
fn the_condition_has_the_agents_reason_for_which_nothing_runs() {
    let waiting = |waits: Vec<Pending>| {
        let run = RunStatus { running: 0, waits, ..seen("active") };
        let status = told(&Status::default(), &Finding::Seen(&run), 1);
        let (status, reason, _) = condition(&status, ConditionType::Running);
        assert_eq!(status, "False");
        reason
    };
    for (reason, expected) in [
        ("no_capable_node", "NoCapableNode"),
        ("queue_max_running", "QueueMaxRunning"),
        ("no_claimer", "NoClaimer"),
        ("of_a_later_version", "WaitingForWorkers"),
    ] {
        let message = "it waits".to_owned();
        let numbers = std::collections::BTreeMap::new();
        let pending = Pending { reason: reason.to_owned(), message, numbers, about: None };
        assert_eq!(waiting(vec![pending]), expected);
    }
    assert_eq!(waiting(Vec::new()), "WaitingForWorkers");
}

#[test]
fn the_end_is_told_once_and_for_all() {
    let status = told(&Status::default(), &Finding::Seen(&seen("succeeded")), 5);
    assert_eq!(status.verdict.as_deref(), Some("Promote"));
    assert_eq!(status.running, Some(0), "leftovers are thrown away and must not stand for ever");
    let complete = condition(&status, ConditionType::Complete);
    assert_eq!(complete, ("True".to_owned(), "CandidatePromoted".to_owned(), 5));
    assert_eq!(status.completion_time.as_ref().unwrap().0.as_second(), 1_700_000_100);
    assert!(has_ended_with(status));

    let status = told(&Status::default(), &Finding::Seen(&seen("failed")), 5);
    assert_eq!(condition(&status, ConditionType::Failed).1, "PairUnplayable");
    assert!(has_ended_with(status));
    let status = told(&Status::default(), &Finding::Seen(&seen("cancelled")), 5);
    assert_eq!(condition(&status, ConditionType::Failed).1, "Cancelled");
}

fn has_ended_with(status: Status) -> bool {
    let mut object = gauntlet();
    object.status = Some(stored(&status));
    let ended = status::has_ended(&object);
    object.meta_mut().uid = Some("another".to_owned());
    assert!(!status::has_ended(&object), "a status of another run says nothing");
    ended
}

#[test]
fn the_same_finding_is_written_once() {
    for phase in ["active", "succeeded", "failed", "cancelled"] {
        let run = seen(phase);
        let first = stored(&told(&Status::default(), &Finding::Seen(&run), 5));
        let mut later = run.clone();
        later.log_index += 1_000;
        let second = told(&first, &Finding::Seen(&later), 60);
        assert!(!differs(&first, &second), "{phase}: the log's index alone is no news");
        later.done += 1;
        assert!(differs(&first, &told(&first, &Finding::Seen(&later), 60)), "{phase}");
    }
}

#[test]
fn agents_that_are_away_leave_the_figures_as_they_were() {
    let before = stored(&told(&Status::default(), &Finding::Seen(&seen("active")), 5));
    let away = StageError::from(ClientError::Unreachable {
        tried: "a:1".to_owned(),
        cause: "connection refused".to_owned(),
    });
    let after = stored(&told(&before, &Finding::from_error(&away), 9));
    assert_eq!(after.progress, before.progress);
    assert_eq!(after.matchups, before.matchups);
    let running = condition(&after, ConditionType::Running);
    assert_eq!(running, ("Unknown".to_owned(), "AgentsUnreachable".to_owned(), 9));
    assert_eq!(condition(&after, ConditionType::Complete).2, 5, "it did not flip");
    assert!(!differs(&after, &told(&after, &Finding::from_error(&away), 30)), "told once");
    let back = told(&after, &Finding::Seen(&seen("active")), 40);
    assert_eq!(condition(&back, ConditionType::Running).2, 40);
}

#[test]
fn a_refusal_for_good_fails_the_object_and_a_passing_one_does_not() {
    let refused = |code: Code| {
        let problem = Problem {
            error: "no".to_owned(),
            status: 400,
            code,
            field: None,
            retry_after_seconds: None,
        };
        let error = StageError::from(ClientError::Refused(Box::new(problem)));
        let status = told(&Status::default(), &Finding::from_error(&error), 5);
        (is_true(&status, ConditionType::Failed), status.reason.unwrap_or_default())
    };
    assert_eq!(refused(Code::InvalidValue), (true, "SpecRefused".to_owned()));
    assert_eq!(refused(Code::RunConflict), (true, "SpecRefused".to_owned()));
    assert_eq!(refused(Code::LeaderUnknown), (false, "AgentsUnavailable".to_owned()));
    assert_eq!(refused(Code::Backpressure), (false, "QueueFull".to_owned()));
    assert_eq!(refused(Code::QueueUnknown), (false, "QueueUnknown".to_owned()));
    assert_eq!(refused(Code::Unauthorized), (false, "AgentsUnauthorized".to_owned()));
    assert_eq!(refused(Code::Internal), (false, "AgentsFaulty".to_owned()));
}

#[test]
fn an_object_that_cannot_be_read_says_so_until_it_can() {
    let status = malformed(Some(2), "missing field `command`", Timestamp::UNIX_EPOCH);
    let first = condition(&status, ConditionType::Malformed);
    assert_eq!((first.0.as_str(), first.1.as_str()), ("True", Reason::SpecInvalid.as_str()));
    let readable = told(&stored(&status), &Finding::Seen(&seen("active")), 5);
    assert_eq!(condition(&readable, ConditionType::Malformed).0, "False");
    assert_eq!(readable.conditions.len(), 4);
}

#[test]
fn every_text_of_a_status_is_bounded() {
    let mut run = seen("active");
    run.message = "é".repeat(4_000);
    run.matchups = vec![run.matchups[0].clone(); 2_016];
    run.failures =
        vec![
            ringrift_wire::run::FailureStatus { matchup: 0, index: 1, error: "x".repeat(9_000) };
            40
        ];
    let status = told(&Status::default(), &Finding::Seen(&run), 5);
    assert!(status.message.as_ref().unwrap().len() <= 1_024);
    assert_eq!((status.matchups.len(), status.failures.len()), (64, 16));
    assert_eq!(status.elo.as_deref(), Some("+35.2 ± 20.1, +35.2 ± 20.1, +35.2 ± 20.1, ..."));
    assert!(serde_json::to_vec(&status).unwrap().len() < 64 * 1_024);
    assert_eq!(cut("short", 5), "short");
    assert_eq!(cut("ééééé", 9), "éé ...");
}
