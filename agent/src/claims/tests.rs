use ringrift_core::machine::Machine;
use ringrift_core::queue::command::Batch;
use ringrift_core::queue::item::{Needs, NewItem, Payload};
use ringrift_core::queue::resources::{Capacity, Demand, Teller};
use ringrift_core::time::{Moment, Span};

use super::*;

fn item(work_type: &str) -> NewItem {
    NewItem {
        key: None,
        queue: ringrift_core::id::QueueName::default(),
        work_type: work_type.to_owned(),
        priority: 50,
        payload: Payload::Opaque("{}".to_owned()),
        needs: Needs::default(),
        attempts_max: 3,
        attempt_timeout: Span::seconds(60),
        pending_timeout: None,
        total_timeout: None,
        delay: Span(0),
        group: None,
        after: Box::default(),
        notify: false,
    }
}

fn machine(types: &[&str]) -> Machine {
    let mut machine = Machine::default();
    let items = types.iter().map(|work_type| item(work_type)).collect();
    let batch = Batch { now: Moment(1), commands: vec![Command::Enqueue(items)] };
    let replies = machine.apply(Position { term: 1, index: 1 }, &batch);
    assert!(matches!(replies.as_slice(), [Ok(_)]), "{replies:?}");
    machine
}

fn claim(node: &str, work_type: &str) -> Claim {
    Claim {
        node: node.parse().unwrap(),
        capabilities: std::collections::BTreeSet::new(),
        labels: std::collections::BTreeMap::new(),
        work_types: std::iter::once(work_type.to_owned()).collect(),
        limit: 1,
        lease: Span::seconds(30),
    }
}

/// A line of claims of one item each, with the ends that wait. No node has said what it has.
fn line(claims: &[(&str, &str)]) -> (Line, Vec<oneshot::Receiver<Outcome>>) {
    line_at(&Machine::default(), claims)
}

fn line_at(machine: &Machine, claims: &[(&str, &str)]) -> (Line, Vec<oneshot::Receiver<Outcome>>) {
    let (mut line, mut ends) = (Line::default(), Vec::new());
    for (node, work_type) in claims {
        let (answer, answered) = oneshot::channel();
        let (claim, standing) = (claim(node, work_type), Arc::default());
        line.push_back(Waiter { claim, retry: Retry::default(), answer, standing }, machine);
        ends.push(answered);
    }
    (line, ends)
}

/// The names of those who still wait, in order.
fn left(line: &Line) -> Vec<String> {
    let mut waiters: Vec<_> = line.wishes.values().flatten().collect();
    assert_eq!(waiters.len(), line.length);
    waiters.sort_by_key(|(number, _)| *number);
    waiters.iter().map(|(_, waiter)| waiter.claim.node.to_string()).collect()
}

fn names(waiters: &[Waiter]) -> Vec<&str> {
    waiters.iter().map(|waiter| waiter.claim.node.as_str()).collect()
}

#[test]
fn as_many_are_served_as_there_is_work_and_in_order() {
    let machine = machine(&["a", "a"]);
    let (mut line, _ends) = line(&[("1", "a"), ("2", "a"), ("3", "a")]);
    assert_eq!(names(&line.choose(&machine, 0).unwrap()), ["1", "2"]);
    assert_eq!(left(&line), ["3"]);
}

#[test]
fn what_is_promised_already_is_not_promised_again() {
    let machine = machine(&["a", "a"]);
    let (mut line, _ends) = line(&[("1", "a"), ("2", "a")]);
    assert!(line.choose(&machine, 2).is_none());
    assert!(line.choose(&machine, 7).is_none());
    assert_eq!(names(&line.choose(&machine, 1).unwrap()), ["1"]);
}

#[test]
fn who_has_gone_is_skipped_and_who_does_not_fit_keeps_its_place() {
    let machine = machine(&["a", "a"]);
    let (mut line, mut ends) =
        line(&[("gone", "a"), ("b1", "b"), ("1", "a"), ("b2", "b"), ("2", "a"), ("3", "a")]);
    drop(ends.remove(0));
    assert_eq!(names(&line.choose(&machine, 0).unwrap()), ["1", "2"]);
    assert_eq!(left(&line), ["b1", "b2", "3"]);
}

#[test]
fn a_node_without_room_holds_up_no_other() {
    let mut machine = Machine::default();
    let demand = Demand { gpu_milli: 1_000, ..Demand::default() };
    let needs = Needs { demand, ..Needs::default() };
    let has = |node: &str, gpu_devices| Command::SetCapacity {
        node: node.parse().unwrap(),
        capacity: Some(Capacity { gpu_devices, ..Capacity::default() }),
        by: Teller::Agent,
    };
    let enqueue = Command::Enqueue(vec![NewItem { needs, ..item("a") }]);
    let commands = vec![has("full", 0), has("free", 1), enqueue];
    let batch = Batch { now: Moment(1), commands };
    machine.apply(Position { term: 1, index: 1 }, &batch);
    let (mut line, _ends) = line_at(&machine, &[("full", "a"), ("free", "a")]);
    assert_eq!(names(&line.choose(&machine, 0).unwrap()), ["free"]);
    assert_eq!(left(&line), ["full"]);
}

#[test]
fn nobody_is_chosen_when_there_is_nothing() {
    let (mut line, _ends) = line(&[("1", "a")]);
    assert!(line.choose(&Machine::default(), 0).is_none());
    assert_eq!(line.choose(&machine(&["b"]), 0).map(|chosen| chosen.len()), Some(0));
    assert_eq!(left(&line), ["1"]);
}

#[test]
fn who_came_back_empty_handed_stands_in_front() {
    let machine = machine(&["a"]);
    let (mut line, _ends) = line(&[("1", "a"), ("2", "a"), ("3", "b")]);
    let chosen = line.choose(&machine, 0).unwrap();
    assert_eq!(names(&chosen), ["1"]);
    for waiter in chosen {
        line.push_front(waiter, &machine);
    }
    assert_eq!(left(&line), ["1", "2", "3"]);
}

/// A claim that waits for 20 ms, as the line sees it, and what its caller will hear.
async fn waiting() -> (Waiter, tokio::task::JoinHandle<Option<Outcome>>) {
    let (arrivals, mut arriving) = mpsc::channel(1);
    let hub = Hub { arrivals, waiting: Arc::default(), known: Known::default() };
    let caller = tokio::spawn(async move {
        let wait = Duration::from_millis(20);
        hub.wait(claim("1", "a"), Retry::default(), wait, &CancellationToken::new()).await
    });
    (arriving.recv().await.unwrap(), caller)
}

#[tokio::test]
async fn who_is_being_served_when_its_time_is_over_hears_what_it_got() {
    for items in [0, 1] {
        let (waiter, caller) = waiting().await;
        let machine = machine(&["a"]);
        assert!(waiter.standing.choose());
        while waiter.standing.change(Standing::CHOSEN, Standing::CHOSEN) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(!caller.is_finished(), "its claim is on its way and may take something");
        assert!(!waiter.standing.back_in_line(), "it does not wait any longer");
        let position = Position { term: 1, index: 2 };
        let items: Vec<_> = machine.ready(items).collect();
        let granted = Ok(Granted { position, items });
        waiter.answer.send(granted.clone()).unwrap();
        assert_eq!(caller.await.unwrap(), Some(granted));
    }
}

#[tokio::test]
async fn who_stands_in_line_when_its_time_is_over_gets_nothing_any_more() {
    let (waiter, caller) = waiting().await;
    assert_eq!(caller.await.unwrap(), None);
    assert!(!waiter.standing.choose(), "it has gone");
}

#[tokio::test]
async fn what_became_of_a_claim_on_its_way_is_not_known_when_the_line_ends() {
    let (waiter, caller) = waiting().await;
    assert!(waiter.standing.choose());
    drop(waiter);
    let unknown = Err(Unserved::Propose(ProposeError::Timeout));
    assert_eq!(caller.await.unwrap(), Some(unknown));
}
