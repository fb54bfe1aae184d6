//! A Tournament in the agents' words.

use ringrift_crds::status::Status;
use ringrift_crds::tournament::{Tournament, TournamentSpec};
use ringrift_wire::run;

use super::contest::{contestants, play};
use super::{Invalid, Kind, resources, unsigned};

impl Kind for Tournament {
    const NAME: &'static str = "tournament";

    fn run_spec(&self) -> Result<run::RunSpec, Invalid> {
        let TournamentSpec { contestants: players, play: how, pairs, queue: _, resources: asked } =
            &self.spec;
        Ok(run::RunSpec::Tournament(run::TournamentSpec {
            contestants: contestants("spec.contestants", players)?,
            play: play(how)?,
            pairs: unsigned("spec.pairs", *pairs)?,
            resources: resources(asked)?,
        }))
    }

    fn queue(&self) -> &str {
        &self.spec.queue
    }

    fn status(&self) -> Option<&Status> {
        self.status.as_ref()
    }
}
