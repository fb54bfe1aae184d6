//! The one table of routes: the router and the OpenAPI document both come from it.
//!
//! Each line says who may call and where the request is answered. Most take everyone, `guarded`
//! only who sends the token when there is one. A plain line is answered by this agent, `replica` by
//! any agent that holds the log, `leader` by the leader. Requests whose reply got lost are sent
//! again, except those marked `once`, since a repeat would do more or be answered otherwise, those
//! marked `in_session` that are in none, and those marked `keyed` that neither are in one nor carry an
//! idempotency key. `ringrift_wire::client` repeats by the same table. Those marked `waiting` may wait,
//! up to a bound of their own.

use std::sync::Arc;

use axum::Extension;
use axum::middleware::from_fn_with_state;
use utoipa::OpenApi as _;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter, UtoipaMethodRouterExt as _};
use utoipa_axum::routes;

use super::body::{BATCH_BODY_BYTES_MAX, BODY_BYTES_MAX};
use super::forward::{self, Passage, Repeat};
use super::observe::MayWait;
use super::{
    App, auth, backup, claims, cluster, events, gauntlet, health, locks, logs, members, queue,
    raft, runs, sessions, status, swim, tenancy, work,
};
use crate::stream;

type Methods = UtoipaMethodRouter<Arc<App>>;

/// Title and version of the document; paths and schemas come with the routes.
#[derive(utoipa::OpenApi)]
#[openapi(info(
    title = "RingRift agent",
    description = "Work queue, locks, runs and status of a RingRift cluster. Every agent serves \
                   every path; what needs the leader is passed on to it."
))]
struct Document;

struct Table {
    app: Arc<App>,
}

impl Table {
    fn replica(&self, methods: Methods) -> Methods {
        let passage = self.passage(BODY_BYTES_MAX, Repeat::Harmless);
        methods.map(|it| it.route_layer(from_fn_with_state(passage, forward::to_replica)))
    }

    fn leader(&self, methods: Methods) -> Methods {
        through(self.passage(BODY_BYTES_MAX, Repeat::Harmless), methods)
    }

    fn leader_once(&self, methods: Methods) -> Methods {
        through(self.passage(BODY_BYTES_MAX, Repeat::Never), methods)
    }

    fn leader_in_session(&self, methods: Methods) -> Methods {
        through(self.passage(BODY_BYTES_MAX, Repeat::InSession), methods)
    }

    fn leader_keyed(&self, body_bytes_max: usize, methods: Methods) -> Methods {
        through(self.passage(body_bytes_max, Repeat::WithKeys), methods)
    }

    /// Goes around those that pass requests on: a request that waits elsewhere takes a place here.
    fn waiting(methods: Methods) -> Methods {
        methods.map(|it| it.route_layer(Extension(MayWait)))
    }

    /// Goes around the others, so that a token is asked for before anything else.
    fn guarded(&self, methods: Methods) -> Methods {
        let app = Arc::clone(&self.app);
        methods.map(|it| it.route_layer(from_fn_with_state(app, auth::demand)))
    }

    fn passage(&self, body_bytes_max: usize, repeat: Repeat) -> Passage {
        Passage { app: Arc::clone(&self.app), body_bytes_max, repeat }
    }
}

fn through(passage: Passage, methods: Methods) -> Methods {
    methods.map(|it| it.route_layer(from_fn_with_state(passage, forward::to_leader)))
}

/// All routes.
pub(crate) fn table(app: &Arc<App>) -> OpenApiRouter<Arc<App>> {
    let t = Table { app: Arc::clone(app) };
    OpenApiRouter::with_openapi(Document::openapi())
        // Open: health, and counts and addresses of the cluster.
        .routes(routes!(health::index))
        .routes(routes!(health::health))
        .routes(routes!(health::metrics))
        .routes(routes!(health::openapi))
        .routes(routes!(status::status))
        .routes(routes!(swim::status))
        .routes(routes!(swim::members))
        .routes(routes!(gauntlet::status))
        .routes(t.replica(routes!(raft::status)))
        .routes(t.replica(routes!(raft::work)))
        .routes(t.replica(routes!(raft::jobs)))
        .routes(t.leader(routes!(queue::populator)))
        .routes(t.leader(routes!(members::list)))
        // Guarded: whatever changes something, or shows payloads, results or output.
        .routes(t.guarded(Table::waiting(t.leader(routes!(locks::acquire, locks::show)))))
        .routes(t.guarded(t.leader_once(routes!(locks::release))))
        .routes(t.guarded(t.leader_keyed(BODY_BYTES_MAX, routes!(work::add))))
        .routes(t.guarded(t.leader_keyed(BATCH_BODY_BYTES_MAX, routes!(work::add_batch))))
        .routes(t.guarded(Table::waiting(t.leader_in_session(routes!(claims::claim)))))
        .routes(t.guarded(routes!(stream::open)))
        .routes(t.guarded(t.leader(routes!(work::start))))
        .routes(t.guarded(t.leader(routes!(claims::heartbeat))))
        .routes(t.guarded(t.leader(routes!(work::complete))))
        .routes(t.guarded(t.leader_in_session(routes!(work::fail))))
        .routes(t.guarded(t.leader(routes!(work::cancel))))
        .routes(t.guarded(t.leader_keyed(BODY_BYTES_MAX, routes!(work::add_array))))
        .routes(t.guarded(t.leader_in_session(routes!(work::release))))
        .routes(t.guarded(t.leader(routes!(work::cancel_array))))
        .routes(t.guarded(t.leader_in_session(routes!(work::redrive))))
        .routes(t.guarded(t.leader_once(routes!(work::redrive_dead))))
        .routes(t.guarded(t.leader(routes!(tenancy::queues))))
        .routes(t.guarded(t.leader(routes!(tenancy::set_queue, tenancy::remove_queue))))
        .routes(t.guarded(t.leader(routes!(tenancy::nodes))))
        .routes(t.guarded(t.leader(routes!(tenancy::set_capacity, tenancy::remove_capacity))))
        .routes(t.guarded(t.leader_once(routes!(sessions::open))))
        .routes(t.guarded(t.leader(routes!(sessions::close))))
        .routes(t.guarded(Table::waiting(t.replica(routes!(events::list)))))
        .routes(t.guarded(t.leader(routes!(queue::why))))
        .routes(t.guarded(t.leader(routes!(queue::status))))
        .routes(t.guarded(t.leader(routes!(queue::history))))
        .routes(t.guarded(t.leader(routes!(queue::of_node))))
        .routes(t.guarded(t.leader(routes!(queue::array))))
        .routes(t.guarded(t.leader(routes!(queue::item))))
        .routes(t.guarded(t.leader(routes!(logs::of_item))))
        .routes(t.guarded(routes!(logs::here)))
        .routes(t.guarded(t.leader(routes!(gauntlet::execute))))
        .routes(t.guarded(t.leader(routes!(runs::submit, runs::list))))
        .routes(t.guarded(t.leader(routes!(runs::get))))
        .routes(t.guarded(t.leader(routes!(runs::ledger))))
        .routes(t.guarded(t.leader(routes!(runs::cancel))))
        .routes(t.guarded(t.leader(routes!(cluster::join))))
        .routes(t.guarded(t.leader(routes!(members::add))))
        .routes(t.guarded(t.leader(routes!(cluster::transfer))))
        .routes(t.guarded(t.leader_once(routes!(cluster::remove))))
        .routes(t.guarded(routes!(cluster::snapshot)))
        .routes(t.guarded(routes!(backup::take)))
}
