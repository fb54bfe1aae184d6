//! What Gauntlet and Tournament share: who plays, and how.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// An engine with its settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
    "[has(self.nodes), has(self.depth), has(self.moveTimeMilliseconds)].exists_one(limit, limit)"
).message("exactly one of nodes, depth, moveTimeMilliseconds must be set"))]
pub struct Contestant {
    /// Unique among the contestants of the object.
    #[schemars(
        length(min = 1, max = 64),
        regex(pattern = r"^[A-Za-z0-9]([A-Za-z0-9._:-]*[A-Za-z0-9])?$")
    )]
    pub name: String,
    /// Program and arguments; no shell. `own` alone is the game runner's own small engine.
    #[schemars(length(min = 1, max = 256), inner(length(min = 1, max = 4096)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub command: Vec<String>,
    /// Engine options, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "options")]
    pub options: BTreeMap<String, String>,
    /// Thinks for so many nodes a move: repeatable, and fair between machines of different speed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000_000_i64))]
    pub nodes: Option<i64>,
    /// Thinks to this depth in plies: repeatable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000))]
    pub depth: Option<i32>,
    /// Thinks for so many milliseconds a move: not repeatable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3_600_000))]
    pub move_time_milliseconds: Option<i64>,
}

/// How games are played.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Play {
    /// Openings follow from the seed and the index of the pair.
    #[schemars(range(min = 0))]
    pub seed: i64,
    /// Random legal plies of an opening.
    #[schemars(range(min = 0, max = 100))]
    pub opening_plies: i32,
    /// A longer game is a draw.
    #[schemars(range(min = 1, max = 10_000))]
    pub plies_max: i32,
    /// An engine that is silent for longer hangs.
    #[schemars(range(min = 1, max = 3_600))]
    pub reply_timeout_seconds: i64,
    /// Pairs of one match-up that may be outstanding at once.
    #[schemars(range(min = 1, max = 1_000))]
    pub window: i32,
    /// Larger goes first.
    #[schemars(range(min = 0, max = 100))]
    pub priority: i32,
}

impl Default for Play {
    fn default() -> Self {
        Self {
            seed: 1,
            opening_plies: 8,
            plies_max: 400,
            reply_timeout_seconds: 10,
            window: 32,
            priority: 50,
        }
    }
}

fn options(_: &mut SchemaGenerator) -> Schema {
    string_map(64, 1_024)
}

/// A map of strings with bounds on entries and on the length of a value; a key is bounded by CEL's
/// own limit on the size of a request alone, and the agents check it.
pub(crate) fn string_map(entries_max: u32, value_length_max: u32) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": entries_max,
        "additionalProperties": { "type": "string", "maxLength": value_length_max },
    })
}
