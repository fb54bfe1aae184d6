//! The worker against a stand-in for its agent's HTTP API, with real programs.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, post};
use axum::{Json, Router};
use ringrift_agent::clock::Clock;
use ringrift_agent::worker::{self, WorkerConfig};
use ringrift_core::time::Span;
use ringrift_wire::client::Client;
use ringrift_wire::problem::{Code, Problem};
use ringrift_wire::{SEQ_HEADER, SESSION_HEADER, work};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Generous: a loaded machine is slow, and only outcomes are under test here.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the stand-in was told, in order.
#[derive(Debug, Clone, PartialEq)]
enum Told {
    Start(String),
    Complete(String, Value),
    Fail(String, String, bool),
    Release(String),
}

#[derive(Default)]
struct Script {
    waiting: VecDeque<work::WorkItem>,
    told: Vec<Told>,
    heartbeats: usize,
    lost: BTreeSet<String>,
    /// Heartbeats are answered 503.
    is_mute: bool,
    /// So many more reports are carried out and then answered 503.
    replies_lost: usize,
    /// So many more completions are refused with this code.
    refuse_completions: Option<Code>,
    /// A start is answered so late.
    start_takes: Duration,
    /// What claims of the session brought, by their numbers.
    answers: BTreeMap<String, Vec<work::WorkItem>>,
    /// So many more claims that bring something are then answered 502.
    claims_lost: usize,
    /// Claims that bring something are not answered.
    claims_stall: bool,
    sessions_closed: usize,
}

#[derive(Clone, Default)]
struct Agent {
    script: Arc<Mutex<Script>>,
    changed: Arc<Notify>,
}

impl Agent {
    fn with<R>(&self, act: impl FnOnce(&mut Script) -> R) -> R {
        let result = act(&mut self.script.lock().unwrap());
        self.changed.notify_waiters();
        result
    }

    async fn until(&self, condition: impl Fn(&Script) -> bool) {
        let reached = tokio::time::timeout(PATIENCE, async {
            loop {
                let changed = self.changed.notified();
                if condition(&self.script.lock().unwrap()) {
                    return;
                }
                // Files that the scripts write change without a word.
                let _either = tokio::time::timeout(Duration::from_millis(20), changed).await;
            }
        });
        assert!(reached.await.is_ok(), "told so far: {:?}", self.script.lock().unwrap().told);
    }

    fn reply(&self, told: Told) -> Response {
        let is_lost = self.with(|script| {
            script.told.push(told);
            let is_lost = script.replies_lost > 0;
            script.replies_lost = script.replies_lost.saturating_sub(1);
            is_lost
        });
        if is_lost {
            return problem(StatusCode::SERVICE_UNAVAILABLE, Code::LeaderUnknown);
        }
        Json(json!({ "status": "done", "work_id": "w1" })).into_response()
    }
}

fn problem(status: StatusCode, code: Code) -> Response {
    let problem = Problem {
        error: "as the test wants".to_owned(),
        status: status.as_u16(),
        code,
        field: None,
        retry_after_seconds: None,
    };
    (status, Json(problem)).into_response()
}

async fn open_session() -> Json<Value> {
    Json(json!({ "status": "open", "session_id": "1" }))
}

async fn close_session(State(agent): State<Agent>) -> Json<Value> {
    agent.with(|script| script.sessions_closed += 1);
    Json(json!({ "status": "closed", "session_id": "1" }))
}

async fn claim(
    State(agent): State<Agent>,
    headers: HeaderMap,
    Json(claim): Json<work::Claim>,
) -> Response {
    assert_eq!(headers[SESSION_HEADER], "1");
    let seq = headers[SEQ_HEADER].to_str().unwrap().to_owned();
    if let Some(items) = agent.with(|script| script.answers.get(&seq).cloned()) {
        return claimed(items);
    }
    let take = |script: &mut Script| -> Vec<work::WorkItem> {
        let count = script.waiting.len().min(claim.max_items as usize);
        script.waiting.drain(..count).collect()
    };
    let wait = Duration::from_secs_f64(claim.wait_seconds);
    let waited = tokio::time::timeout(wait, agent.until(|script| !script.waiting.is_empty()));
    let _nothing_came = waited.await;
    let (items, stalls, is_lost) = agent.with(|script| {
        let items = take(script);
        script.answers.insert(seq, items.clone());
        let is_lost = !items.is_empty() && script.claims_lost > 0;
        script.claims_lost -= usize::from(is_lost);
        (items.clone(), script.claims_stall && !items.is_empty(), is_lost)
    });
    if is_lost {
        return problem(StatusCode::BAD_GATEWAY, Code::LeaderUnreachable);
    }
    if stalls {
        std::future::pending::<()>().await;
    }
    claimed(items)
}

fn claimed(items: Vec<work::WorkItem>) -> Response {
    let status = if items.is_empty() { "no_work_available" } else { "claimed" }.to_owned();
    Json(work::Claimed { status, work: items.first().cloned(), items }).into_response()
}

async fn start(State(agent): State<Agent>, Json(body): Json<work::Start>) -> Response {
    let takes = agent.with(|script| script.start_takes);
    tokio::time::sleep(takes).await;
    agent.reply(Told::Start(body.work_id))
}

async fn heartbeat(State(agent): State<Agent>, Json(body): Json<work::Heartbeat>) -> Response {
    let (is_mute, lost) = agent.with(|script| {
        script.heartbeats += 1;
        (script.is_mute, script.lost.clone())
    });
    if is_mute {
        return problem(StatusCode::SERVICE_UNAVAILABLE, Code::LeaderUnknown);
    }
    let named = |id: &String| body.claims.iter().any(|claim| claim.work_id == *id);
    let lost: Vec<String> = lost.into_iter().filter(named).collect();
    let renewed = u32::try_from(body.claims.len() - lost.len()).unwrap();
    Json(work::Renewed { status: "renewed".to_owned(), renewed, lost }).into_response()
}

async fn complete(State(agent): State<Agent>, Json(body): Json<work::Complete>) -> Response {
    let refused = agent.with(|script| script.refuse_completions.take());
    if let Some(code) = refused {
        return problem(StatusCode::CONFLICT, code);
    }
    agent.reply(Told::Complete(body.work_id, body.result))
}

async fn release(State(agent): State<Agent>, Json(body): Json<work::Release>) -> Response {
    agent.reply(Told::Release(body.work_id))
}

async fn fail(State(agent): State<Agent>, Json(body): Json<work::Fail>) -> Response {
    agent.reply(Told::Fail(body.work_id, body.error, body.retry))
}

struct Bench {
    agent: Agent,
    root: tempfile::TempDir,
    address: SocketAddr,
    cancel: CancellationToken,
    worker: tokio::task::JoinHandle<Result<(), worker::WorkerError>>,
}

impl Bench {
    async fn new(lease: Span) -> Self {
        let agent = Agent::default();
        let app = Router::new()
            .route("/sessions", post(open_session))
            .route("/sessions/{id}", delete(close_session))
            .route("/work/claim", post(claim))
            .route("/work/start", post(start))
            .route("/work/heartbeat", post(heartbeat))
            .route("/work/complete", post(complete))
            .route("/work/fail", post(fail))
            .route("/work/release", post(release))
            .with_state(agent.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        let root = tempfile::tempdir().unwrap();
        let cancel = CancellationToken::new();
        let config = WorkerConfig {
            node_id: "a".parse().unwrap(),
            slots: 2,
            capabilities: BTreeSet::new(),
            labels: Default::default(),
            match_program: runner(&root),
            leash_program: PathBuf::from(env!("CARGO_BIN_EXE_ringrift-agent")),
            spool_dir: root.path().join("spool"),
            lease,
        };
        let client = Client::new(&[address.to_string()], None, PATIENCE).unwrap();
        let worker = tokio::spawn(worker::run(config, client, Clock::start(), cancel.clone()));
        Self { agent, root, address, cancel, worker }
    }

    fn give(&self, work_id: &str, work_type: &str, config: Value, timeout_seconds: f64) {
        let item = work::WorkItem {
            work_id: work_id.to_owned(),
            work_type: work_type.to_owned(),
            queue: "default".to_owned(),
            priority: 50,
            status: "claimed".to_owned(),
            config,
            attempts: 0,
            max_attempts: 3,
            timeout_seconds,
            created_at: 0.0,
            claimed_by: None,
            token: Some("0.1.2.3".to_owned()),
            deadline: None,
            run_id: None,
            array_id: None,
            array_index: None,
            devices: Vec::new(),
            cause: None,
            result: None,
            error: None,
            ended_at: None,
            why: Vec::new(),
        };
        self.agent.with(|script| script.waiting.push_back(item));
    }

    fn give_shell(&self, work_id: &str, text: &str) {
        let outside = self.root.path().to_str().unwrap();
        let config = json!({ "argv": ["sh", "-c", text], "env": { "OUTSIDE": outside } });
        self.give(work_id, "process", config, 600.0);
    }

    /// What was told about an item, once its last word has come.
    async fn told(&self, work_id: &str, count: usize) -> Vec<Told> {
        let about = |script: &Script| -> Vec<Told> {
            let is_about = |told: &&Told| match told {
                Told::Start(id)
                | Told::Complete(id, _)
                | Told::Fail(id, _, _)
                | Told::Release(id) => id == work_id,
            };
            script.told.iter().filter(is_about).cloned().collect()
        };
        self.agent.until(|script| about(script).len() >= count).await;
        self.agent.with(|script| about(script))
    }

    fn pid(&self) -> Option<i32> {
        let text = std::fs::read_to_string(self.root.path().join("pid")).ok()?;
        text.strip_suffix('\n')?.trim().parse().ok()
    }

    /// Waits until the program that wrote its number into `pid` is there.
    async fn running(&self) -> i32 {
        self.agent.until(|_| self.pid().is_some()).await;
        self.pid().unwrap()
    }

    async fn expect_gone(&self, pid: i32) {
        let path = PathBuf::from(format!("/proc/{pid}"));
        self.agent.until(|_| !path.exists()).await;
    }

    async fn end(self) {
        self.cancel.cancel();
        tokio::time::timeout(PATIENCE, self.worker).await.unwrap().unwrap().unwrap();
    }
}

/// A stand-in for the game runner: answers with what its input says.
fn runner(root: &tempfile::TempDir) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = root.path().join("runner");
    let text = "#!/bin/sh\n[ \"$1\" = pair ] || exit 9\nread -r input\ncase $input in *refuse*) exit 2;; \
                esac\necho playing >&2\necho '{\"index\":4,\"opening\":[],\"games\":[],\"wall_ms\":1}'\n";
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

const STAYS: &str = "echo $$ > $OUTSIDE/pid; sleep 600; sleep 600";

fn started(work_id: &str) -> Told {
    Told::Start(work_id.to_owned())
}

fn completed(work_id: &str, result: Value) -> Told {
    Told::Complete(work_id.to_owned(), result)
}

fn failed(work_id: &str, error: &str, retry: bool) -> Told {
    Told::Fail(work_id.to_owned(), error.to_owned(), retry)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_and_failures_are_reported_as_what_they_are() {
    let bench = Bench::new(Span::seconds(30)).await;
    bench.give_shell(
        "w1",
        "echo '{\"id\": \"'$RINGRIFT_WORK_ID'\", \"token\": \"'$RINGRIFT_TOKEN'\"}'",
    );
    let result = json!({ "id": "w1", "token": "0.1.2.3" });
    assert_eq!(bench.told("w1", 2).await, [started("w1"), completed("w1", result)]);

    bench.give_shell("w2", "echo why >&2; exit 3");
    let error = "the program exited with code 3; why";
    assert_eq!(bench.told("w2", 2).await, [started("w2"), failed("w2", error, true)]);
    let log = std::fs::read_to_string(bench.root.path().join("spool/w2.log")).unwrap();
    assert_eq!(log, "why\n");

    bench.give("w3", "process", json!({ "argv": ["true"], "cwd": "/" }), 600.0);
    let told = bench.told("w3", 1).await;
    let [Told::Fail(_, error, false)] = told.as_slice() else { panic!("{told:?}") };
    assert!(error.starts_with("config.cwd: unknown field"), "{error}");

    bench.give("w4", "pair", json!({ "index": 4 }), 600.0);
    let report = json!({ "index": 4, "opening": [], "games": [], "wall_ms": 1 });
    assert_eq!(bench.told("w4", 2).await, [started("w4"), completed("w4", report)]);
    bench.give("w5", "pair", json!({ "refuse": true }), 600.0);
    let error = "the program exited with code 2";
    assert_eq!(bench.told("w5", 2).await, [started("w5"), failed("w5", error, false)]);
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timeout_kills_the_whole_tree() {
    let bench = Bench::new(Span::seconds(30)).await;
    let outside = bench.root.path().to_str().unwrap();
    let text = "sh -c 'sleep 600 & echo $! > $OUTSIDE/pid; wait' & wait";
    let config = json!({ "argv": ["sh", "-c", text], "env": { "OUTSIDE": outside } });
    bench.give("w1", "process", config, 3.0);
    let grandchild = bench.running().await;
    let error = "the attempt did not end within 3.0 s and was stopped";
    assert_eq!(bench.told("w1", 2).await, [started("w1"), failed("w1", error, true)]);
    assert!(!PathBuf::from(format!("/proc/{grandchild}")).exists(), "gone before it is reported");
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_has_its_time_from_when_its_start_was_asked_for() {
    let bench = Bench::new(Span::seconds(30)).await;
    let outside = bench.root.path().to_str().unwrap();
    let text = "trap '' TERM; echo $$ > $OUTSIDE/pid; while :; do sleep 0.1; done";
    let config = json!({ "argv": ["sh", "-c", text], "env": { "OUTSIDE": outside } });
    bench.agent.with(|script| script.start_takes = Duration::from_secs(2));
    bench.give("w1", "process", config, 4.0);
    let given_at = Clock::start();
    let pid = bench.running().await;
    bench.expect_gone(pid).await;
    // The cluster counts from when it heard of the start: after the item was given.
    assert!(given_at.monotonic() < Duration::from_secs(5), "{:?}", given_at.monotonic());
    let error = "the attempt did not end within 4.0 s and was stopped";
    assert_eq!(bench.told("w1", 2).await, [started("w1"), failed("w1", error, true)]);
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_claim_stops_its_process_and_only_that() {
    let bench = Bench::new(Span::seconds(3)).await;
    bench.give_shell("w1", STAYS);
    let pid = bench.running().await;
    bench.give_shell("w2", "while [ ! -e $OUTSIDE/go ]; do sleep 0.02; done");
    bench.told("w2", 1).await;
    bench.agent.with(|script| script.lost.insert("w1".to_owned()));
    bench.expect_gone(pid).await;
    std::fs::write(bench.root.path().join("go"), "").unwrap();
    assert!(matches!(bench.told("w2", 2).await[1], Told::Complete(..)));
    assert_eq!(
        bench.told("w1", 1).await,
        [started("w1")],
        "nothing more is said about a lost item"
    );
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_heartbeats_a_process_ends_before_its_lease() {
    let lease = Duration::from_secs(3);
    let bench = Bench::new(Span::seconds(3)).await;
    bench.agent.with(|script| script.is_mute = true);
    let given_at = Clock::start();
    bench.give_shell("w1", STAYS);
    let pid = bench.running().await;
    bench.expect_gone(pid).await;
    // The claim was sent before `given_at`, or after it; the lease cannot have ended before this.
    assert!(given_at.monotonic() < lease, "{:?}", given_at.monotonic());
    bench.agent.until(|script| script.heartbeats >= 2).await;
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeats_keep_a_claim_beyond_its_first_lease() {
    let bench = Bench::new(Span::seconds(1)).await;
    bench.give_shell("w1", "sleep 2.5; echo '{\"late\": true}'");
    let result = json!({ "late": true });
    assert_eq!(bench.told("w1", 2).await, [started("w1"), completed("w1", result)]);
    bench.agent.until(|script| script.heartbeats >= 4).await;
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_whose_reply_is_lost_is_repeated_with_the_same_content() {
    let bench = Bench::new(Span::seconds(30)).await;
    bench.agent.with(|script| script.replies_lost = 1);
    bench.give_shell("w1", "while [ ! -e $OUTSIDE/go ]; do sleep 0.02; done; echo '{}'");
    assert_eq!(bench.told("w1", 2).await, [started("w1"), started("w1")]);
    bench.agent.with(|script| script.replies_lost = 2);
    std::fs::write(bench.root.path().join("go"), "").unwrap();
    let again = completed("w1", json!({}));
    assert_eq!(bench.told("w1", 5).await[2..], [again.clone(), again.clone(), again]);
    let spooled = || std::fs::read_dir(bench.root.path().join("spool")).unwrap().flatten();
    let is_result = |name: std::ffi::OsString| name.to_string_lossy().ends_with(".result");
    bench.agent.until(|_| !spooled().any(|entry| is_result(entry.file_name()))).await;
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fenced_result_is_dropped_and_a_bad_one_is_a_failure() {
    let bench = Bench::new(Span::seconds(30)).await;
    bench.agent.with(|script| script.refuse_completions = Some(Code::Fenced));
    bench.give_shell("w1", "true");
    bench.agent.until(|script| script.refuse_completions.is_none()).await;
    bench.agent.with(|script| script.refuse_completions = Some(Code::InvalidValue));
    bench.give_shell("w2", "true");
    let error = "the result was refused: as the test wants";
    assert_eq!(bench.told("w2", 2).await, [started("w2"), failed("w2", error, true)]);
    assert_eq!(bench.told("w1", 1).await, [started("w1")]);
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_stops_hands_its_items_back() {
    let bench = Bench::new(Span::seconds(30)).await;
    bench.give_shell("w1", STAYS);
    let pid = bench.running().await;
    let (agent, address) = (bench.agent.clone(), bench.address);
    bench.end().await;
    assert!(!PathBuf::from(format!("/proc/{pid}")).exists());
    let told = agent.with(|script| script.told.clone());
    assert_eq!(told, [started("w1"), Told::Release("w1".to_owned())], "{address}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_whose_answer_got_lost_is_not_lost() {
    let bench = Bench::new(Span::seconds(30)).await;
    bench.agent.with(|script| script.claims_lost = 1);
    bench.give_shell("w1", "echo '{}'");
    assert_eq!(bench.told("w1", 2).await, [started("w1"), completed("w1", json!({}))]);
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_claim_brings_while_the_agent_stops_is_given_back() {
    let bench = Bench::new(Span::seconds(30)).await;
    bench.agent.with(|script| script.claims_stall = true);
    bench.give_shell("w1", STAYS);
    bench.agent.until(|script| script.waiting.is_empty()).await;
    let agent = bench.agent.clone();
    bench.end().await;
    let (told, closed) = agent.with(|script| (script.told.clone(), script.sessions_closed));
    assert_eq!((told, closed), (vec![Told::Release("w1".to_owned())], 1));
}
