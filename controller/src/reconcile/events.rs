//! Events, for people who look at `kubectl describe`. One for each turn of an object's life; a failure
//! to publish one is logged and changes nothing.

use std::time::Duration;

use kube::api::{ObjectMeta, PartialObjectMetaExt as _};
use kube::runtime::events::{Event as KubeEvent, EventType, Recorder, Reporter};
use kube::{Client, Resource as _};
use ringrift_crds::condition::Reason;
use tracing::warn;

use super::Kind;

/// The name under which events are reported.
const CONTROLLER: &str = "ringrift.dev/controller";
/// Longest time of one call: an event is worth no more.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(3);
/// Kubernetes refuses a longer note.
const NOTE_BYTES_MAX: usize = 1_000;

/// What is told.
#[derive(Debug)]
pub(super) enum Event<'a> {
    /// The agents have accepted the run.
    Submitted { run_id: &'a str },
    /// The run has ended, well or badly.
    Ended { well: bool, reason: Reason, message: &'a str },
    /// The object cannot be read.
    Malformed { error: &'a str },
    /// The object went although no agent could be told to cancel its run.
    RunAbandoned { run_id: &'a str },
}

/// Publishes events, and joins repeated ones.
pub(crate) struct Events(Recorder);

impl Events {
    pub(super) fn new(client: Client, identity: &str) -> Self {
        let reporter =
            Reporter { controller: CONTROLLER.to_owned(), instance: Some(identity.to_owned()) };
        Self(Recorder::new(client, reporter))
    }

    pub(super) async fn publish<K: Kind>(&self, metadata: &ObjectMeta, event: &Event<'_>) {
        let about = metadata.clone().into_response_partial::<K>().object_ref(&());
        let event = wording(event);
        let publish = self.0.publish(&event, &about);
        match tokio::time::timeout(PUBLISH_TIMEOUT, publish).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(%error, "event could not be published"),
            Err(_elapsed) => warn!("event could not be published in time"),
        }
    }
}

fn wording(event: &Event<'_>) -> KubeEvent {
    let (type_, reason, action, note) = match event {
        Event::Submitted { run_id } => {
            (EventType::Normal, "Submitted", "Submit", format!("the agents accepted run {run_id}"))
        }
        Event::Ended { well: true, reason, message } => {
            (EventType::Normal, reason.as_str(), "Observe", (*message).to_owned())
        }
        Event::Ended { well: false, reason, message } => {
            (EventType::Warning, reason.as_str(), "Observe", (*message).to_owned())
        }
        Event::Malformed { error } => {
            let note = format!("the object cannot be read, write it anew: {error}");
            (EventType::Warning, "Malformed", "Read", note)
        }
        Event::RunAbandoned { run_id } => (
            EventType::Warning,
            "RunAbandoned",
            "Cancel",
            format!(
                "no agent could be told to cancel run {run_id}; \
                 when they are back, cancel it by `ringrift cancel {run_id}`"
            ),
        ),
    };
    let note = super::digest::cut(&note, NOTE_BYTES_MAX);
    KubeEvent {
        type_,
        reason: reason.to_owned(),
        action: action.to_owned(),
        note: Some(note),
        secondary: None,
    }
}
