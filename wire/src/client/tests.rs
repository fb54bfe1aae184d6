//! A request of which nobody knows what became, against agents that are only as real as it takes.

use std::collections::BTreeMap;
use std::sync::Mutex;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;

const PATIENCE: Duration = Duration::from_secs(5);

/// What all agents of a fake cluster share.
#[derive(Debug, Default)]
struct Cluster {
    items: u64,
    opened: u64,
    sessions: BTreeMap<u64, BTreeMap<u64, u64>>,
    /// Refuses to open any.
    sessionless: bool,
    /// So many further adds are carried out, and the connection ends before the answer.
    silent_adds: u32,
    claims: u32,
}

enum Answer {
    /// A status and a body.
    Says(u16, String),
    /// The connection ends instead.
    Silence,
}

fn problem(status: u16, code: &str) -> Answer {
    Answer::Says(status, format!(r#"{{"error":"no","status":{status},"code":"{code}"}}"#))
}

impl Cluster {
    fn answer(&mut self, head: &str) -> Answer {
        let header = |name: &str| {
            let line = head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
            line.map(|text| text.trim().parse::<u64>().unwrap())
        };
        match head.split(' ').nth(1).unwrap() {
            "/sessions" if self.sessionless => problem(429, "BACKPRESSURE"),
            "/sessions" => {
                self.opened += 1;
                self.sessions.insert(self.opened, BTreeMap::new());
                let body = format!(r#"{{"status":"open","session_id":"{}"}}"#, self.opened);
                Answer::Says(200, body)
            }
            "/work/add" => self.add(header(crate::SESSION_HEADER), header(crate::SEQ_HEADER)),
            "/work/claim" => {
                self.claims += 1;
                Answer::Silence
            }
            path if path.starts_with("/sessions/") => {
                let id: u64 = path.trim_start_matches("/sessions/").parse().unwrap();
                self.sessions.remove(&id);
                Answer::Says(200, r#"{"status":"closed","session_id":"1"}"#.to_owned())
            }
            path => panic!("{path}"),
        }
    }

    fn add(&mut self, session: Option<u64>, seq: Option<u64>) -> Answer {
        let told = match session {
            None => None,
            Some(id) => match self.sessions.get(&id) {
                None => return problem(404, "SESSION_UNKNOWN"),
                Some(answers) => answers.get(&seq.unwrap()).copied(),
            },
        };
        let work_id = told.unwrap_or_else(|| {
            self.items += 1;
            self.items
        });
        if let Some(id) = session {
            self.sessions.get_mut(&id).unwrap().insert(seq.unwrap(), work_id);
        }
        if self.silent_adds > 0 {
            self.silent_adds -= 1;
            return Answer::Silence;
        }
        let body = r#"{"status":"added","work_type":"t","priority":1,"work_id":"#;
        Answer::Says(200, format!(r#"{body}"{work_id}"}}"#))
    }
}

/// Starts agents of one cluster; answers their addresses.
async fn agents(cluster: &Arc<Mutex<Cluster>>, count: usize) -> Vec<String> {
    let mut addresses = Vec::new();
    for _ in 0..count {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        addresses.push(listener.local_addr().unwrap().to_string());
        let cluster = Arc::clone(cluster);
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(serve(connection, Arc::clone(&cluster)));
            }
        });
    }
    addresses
}

async fn serve(mut connection: TcpStream, cluster: Arc<Mutex<Cluster>>) {
    let mut bytes = Vec::new();
    while connection.read_buf(&mut bytes).await.unwrap() > 0 {
        let text = String::from_utf8(bytes.clone()).unwrap();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let head = head.to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() < length.map_or(0, |length| length.trim().parse().unwrap()) {
            continue;
        }
        bytes.clear();
        let answer = cluster.lock().unwrap().answer(&head);
        let Answer::Says(status, body) = answer else { return };
        let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n", body.len());
        connection.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    }
}

async fn world(cluster: Cluster, count: usize) -> (Arc<Mutex<Cluster>>, Client) {
    let cluster = Arc::new(Mutex::new(cluster));
    let client = Client::new(&agents(&cluster, count).await, None, PATIENCE).unwrap();
    (cluster, client)
}

/// Items and sessions that there were.
fn counts(cluster: &Mutex<Cluster>) -> (u64, u64) {
    let cluster = cluster.lock().unwrap();
    (cluster.items, cluster.opened)
}

async fn add(client: &Client) -> Result<String, ClientError> {
    let added: work::Added = client.post("/work/add", &serde_json::json!({})).await?;
    Ok(added.work_id)
}

#[tokio::test]
async fn an_add_whose_answer_got_lost_is_carried_out_once() {
    for agents in [1, 2, 3] {
        let (cluster, client) =
            world(Cluster { silent_adds: 1, ..Cluster::default() }, agents).await;
        assert_eq!(add(&client).await.unwrap(), "1", "the answer of the first try");
        assert_eq!(add(&client).await.unwrap(), "2");
        assert_eq!(counts(&cluster), (2, 1));
        client.close().await;
        assert!(cluster.lock().unwrap().sessions.is_empty());
    }
}

#[tokio::test]
async fn a_session_that_ended_meanwhile_is_followed_by_another() {
    let (cluster, client) = world(Cluster::default(), 2).await;
    add(&client).await.unwrap();
    cluster.lock().unwrap().sessions.clear();
    assert_eq!(add(&client).await.unwrap(), "2");
    assert_eq!(cluster.lock().unwrap().opened, 2);
}

#[tokio::test]
async fn without_a_session_what_could_be_done_twice_is_not_sent_again() {
    let sessionless = Cluster { sessionless: true, silent_adds: 1, ..Cluster::default() };
    let (cluster, client) = world(sessionless, 2).await;
    let unknown = add(&client).await.unwrap_err();
    assert!(matches!(unknown, ClientError::Unanswered { .. }), "{unknown}");
    assert_eq!(cluster.lock().unwrap().items, 1);
    let (cluster, client) = world(Cluster { silent_adds: 1, ..Cluster::default() }, 2).await;
    let unknown = add(&client.without_sessions()).await.unwrap_err();
    assert!(matches!(unknown, ClientError::Unanswered { .. }), "{unknown}");
    assert_eq!(counts(&cluster), (1, 0));
}

#[tokio::test]
async fn in_a_session_of_the_caller_everything_is_sent_again() {
    let (cluster, client) = world(Cluster { silent_adds: 1, ..Cluster::default() }, 2).await;
    cluster.lock().unwrap().sessions.insert(9, BTreeMap::new());
    assert_eq!(add(&client.in_session("9", 0, 0)).await.unwrap(), "1");
    assert_eq!(add(&client.in_session("9", 0, 0)).await.unwrap(), "1", "the same request");
    assert_eq!(add(&client.in_session("9", 1, 1)).await.unwrap(), "2");
    assert_eq!(counts(&cluster), (2, 0));
}

#[tokio::test]
async fn a_claim_is_sent_again_only_when_it_never_left() {
    let (cluster, client) = world(Cluster::default(), 2).await;
    let claim = serde_json::json!({ "node_id": "n" });
    let unknown = client.post::<_, work::Claimed>("/work/claim", &claim).await.unwrap_err();
    assert!(matches!(unknown, ClientError::Unanswered { .. }), "{unknown}");
    assert_eq!(cluster.lock().unwrap().claims, 1);
    // Nobody listens at the first address.
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let mut addresses = vec![gone];
    addresses.extend(agents(&cluster, 1).await);
    let client = Client::new(&addresses, None, PATIENCE).unwrap();
    assert!(client.post::<_, work::Claimed>("/work/claim", &claim).await.is_err());
    assert_eq!(cluster.lock().unwrap().claims, 2);
}
