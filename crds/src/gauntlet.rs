//! `Gauntlet`: one candidate against baselines, a sequential test each, one verdict.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::contest::{Contestant, Play};
use crate::queue;
use crate::resources::Resources;
use crate::status::Status;

/// One candidate against baselines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "ringrift.dev",
    version = "v1alpha1",
    kind = "Gauntlet",
    plural = "gauntlets",
    shortname = "rrg",
    category = "ringrift",
    namespaced,
    status = "Status",
    derive = "PartialEq",
    doc = "Whether a candidate is better than every baseline, decided by a sequential test on pairs of games.",
    printcolumn(name = "Progress", type_ = "string", json_path = ".status.progress"),
    printcolumn(name = "Verdict", type_ = "string", json_path = ".status.verdict"),
    printcolumn(name = "Elo", type_ = "string", json_path = ".status.elo"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Running", type_ = "integer", json_path = ".status.running", priority = 1),
    printcolumn(name = "Failed", type_ = "integer", json_path = ".status.failed", priority = 1),
    printcolumn(name = "Run", type_ = "string", json_path = ".status.runId", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message", priority = 1)
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self == oldSelf").message("spec must not change: create a new Gauntlet for other games"))]
#[x_kube(validation = Rule::new("!self.baselines.exists(b, b.name == self.candidate.name)")
    .message("candidate.name must not be the name of a baseline"))]
pub struct GauntletSpec {
    /// Who wants to be promoted.
    pub candidate: Contestant,
    /// Whom it must beat.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub baselines: Vec<Contestant>,
    /// How games are played.
    #[serde(default)]
    pub play: Play,
    /// When a match-up ends.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self.pairsMin <= self.pairsMax").message("pairsMin must be less than or equal to pairsMax"))]
    #[x_kube(validation = Rule::new("self.elo0Milli < self.elo1Milli").message("elo0Milli must be less than elo1Milli"))]
    pub stop: Stop,
    /// The agents' queue that the pairs go to. `default` always exists. While another one does not, the
    /// object waits for it.
    #[serde(default = "queue")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"))]
    pub queue: String,
    /// What each pair reserves on its node.
    #[serde(default)]
    pub resources: Resources,
}

/// When a match-up ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Stop {
    /// No verdict before so many valid pairs.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub pairs_min: i32,
    /// Inconclusive after so many.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub pairs_max: i32,
    /// The scale of the bounds.
    pub model: Model,
    /// Lower hypothesis, in thousandths of an Elo.
    #[schemars(range(min = -1_000_000, max = 1_000_000))]
    pub elo0_milli: i32,
    /// Upper hypothesis, in thousandths of an Elo.
    #[schemars(range(min = -1_000_000, max = 1_000_000))]
    pub elo1_milli: i32,
    /// Probability of a false promotion, in millionths.
    #[schemars(range(min = 1, max = 499_999))]
    pub alpha_ppm: i32,
    /// Probability of a false rejection, in millionths.
    #[schemars(range(min = 1, max = 499_999))]
    pub beta_ppm: i32,
}

impl Default for Stop {
    fn default() -> Self {
        Self {
            pairs_min: 20,
            pairs_max: 2_000,
            model: Model::Normalized,
            elo0_milli: 0,
            elo1_milli: 30_000,
            alpha_ppm: 50_000,
            beta_ppm: 50_000,
        }
    }
}

/// The scale of a test's bounds. `Normalized` is Elo in units of its own standard deviation, so
/// that the length of a test does not depend on the rate of draws; `Logistic` is plain Elo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Model {
    #[expect(missing_docs, reason = "a doc comment would split the schema's enum in a oneOf")]
    Normalized,
    #[expect(missing_docs, reason = "a doc comment would split the schema's enum in a oneOf")]
    Logistic,
}
