//! Events of the cluster, for those who react to them: a long poll on the local replica. What is there
//! is committed, so no replica ever tells of something that did not happen; one that is behind tells
//! of it later.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use ringrift_core::event::EventKind;
use ringrift_wire::event::{Events, EventsQuery};
use ringrift_wire::problem::Problem;

use super::body::UrlQuery;
use super::failure::{Answer, Failure};
use super::{App, convert, observe};

/// Events of one reply.
const PAGE_MAX: u32 = 1_000;

/// Events after a number. With `wait_seconds` the reply comes as soon as there is one.
#[utoipa::path(
    get, path = "/events", operation_id = "events", tag = "events",
    params(EventsQuery),
    responses((status = 200, body = Events), (status = "default", body = Problem))
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    UrlQuery(query): UrlQuery<EventsQuery>,
) -> Answer<Events> {
    let EventsQuery { mut after, max, wait_seconds, kinds } = query;
    let max = convert::page("max", max, PAGE_MAX)?;
    let wait = convert::wait("wait_seconds", wait_seconds)?;
    let kinds = wanted(kinds.as_deref())?;
    let replica = app.replica()?;
    let mut last = replica.last_event();
    let mut place = None;
    let late = tokio::time::sleep(wait);
    tokio::pin!(late);
    // Ends with the wait.
    loop {
        last.borrow_and_update();
        let page = replica.read(|machine| {
            // What an event is known by has the cluster's name in it.
            let max = if machine.cluster_id().is_empty() { 0 } else { max };
            convert::event::page(machine, &machine.events(after, max, &kinds))
        });
        if !page.events.is_empty() || page.gap || wait.is_zero() {
            return Ok(Json(page));
        }
        if place.is_none() {
            place = Some(observe::place_to_wait(&app)?);
        }
        // What was passed over need not be looked at again.
        after = page.next;
        let more = tokio::select! {
            changed = last.changed() => changed.is_ok(),
            () = &mut late => false,
            () = app.stopping.cancelled() => false,
        };
        if !more {
            return Ok(Json(page));
        }
    }
}

fn wanted(kinds: Option<&str>) -> Result<BTreeSet<EventKind>, Failure> {
    let words = kinds.into_iter().flat_map(|kinds| kinds.split(','));
    let kinds = words.map(|word| {
        EventKind::named(word).ok_or_else(|| {
            let known = EventKind::ALL.map(EventKind::as_str).join(", ");
            Failure::invalid("kinds", format!("names {word:?}, which is none of {known}"))
        })
    });
    kinds.collect()
}
