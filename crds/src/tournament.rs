//! `Tournament`: everyone against everyone.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::contest::{Contestant, Play};
use crate::queue;
use crate::resources::Resources;
use crate::status::Status;

/// Everyone against everyone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "ringrift.dev",
    version = "v1alpha1",
    kind = "Tournament",
    plural = "tournaments",
    shortname = "rrt",
    category = "ringrift",
    namespaced,
    status = "Status",
    derive = "PartialEq",
    doc = "Everyone against everyone, a fixed number of pairs of games each.",
    printcolumn(name = "Progress", type_ = "string", json_path = ".status.progress"),
    printcolumn(name = "Leader", type_ = "string", json_path = ".status.standings[0].name"),
    printcolumn(name = "Points", type_ = "string", json_path = ".status.standings[0].points"),
    printcolumn(name = "Elo", type_ = "string", json_path = ".status.elo"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Running", type_ = "integer", json_path = ".status.running", priority = 1),
    printcolumn(name = "Failed", type_ = "integer", json_path = ".status.failed", priority = 1),
    printcolumn(name = "Run", type_ = "string", json_path = ".status.runId", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message", priority = 1)
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self == oldSelf").message("spec must not change: create a new Tournament for other games"))]
pub struct TournamentSpec {
    /// The players.
    #[schemars(length(min = 2, max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub contestants: Vec<Contestant>,
    /// How games are played.
    #[serde(default)]
    pub play: Play,
    /// Pairs of each match-up.
    #[serde(default = "pairs")]
    #[schemars(range(min = 1, max = 100_000))]
    pub pairs: i32,
    /// The agents' queue that the pairs go to. `default` always exists. While another one does not, the
    /// object waits for it.
    #[serde(default = "queue")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"))]
    pub queue: String,
    /// What each pair reserves on its node.
    #[serde(default)]
    pub resources: Resources,
}

const fn pairs() -> i32 {
    20
}
