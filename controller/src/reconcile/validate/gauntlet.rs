//! A Gauntlet in the agents' words.

use ringrift_crds::gauntlet::{Gauntlet, GauntletSpec, Model, Stop};
use ringrift_crds::status::Status;
use ringrift_wire::run;

use super::contest::{contestant, contestants, play};
use super::{Invalid, Kind, resources, unsigned};

impl Kind for Gauntlet {
    const NAME: &'static str = "gauntlet";

    fn run_spec(&self) -> Result<run::RunSpec, Invalid> {
        let GauntletSpec {
            candidate,
            baselines,
            play: how,
            stop: when,
            queue: _,
            resources: asked,
        } = &self.spec;
        Ok(run::RunSpec::Gauntlet(run::GauntletSpec {
            candidate: contestant("spec.candidate", candidate)?,
            baselines: contestants("spec.baselines", baselines)?,
            play: play(how)?,
            stop: stop(when)?,
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

fn stop(given: &Stop) -> Result<run::Stop, Invalid> {
    let Stop { pairs_min, pairs_max, model, elo0_milli, elo1_milli, alpha_ppm, beta_ppm } = *given;
    Ok(run::Stop {
        pairs_min: unsigned("spec.stop.pairsMin", pairs_min)?,
        pairs_max: unsigned("spec.stop.pairsMax", pairs_max)?,
        model: match model {
            Model::Normalized => run::Model::Normalized,
            Model::Logistic => run::Model::Logistic,
        },
        elo0_milli,
        elo1_milli,
        alpha_ppm: unsigned("spec.stop.alphaPpm", alpha_ppm)?,
        beta_ppm: unsigned("spec.stop.betaPpm", beta_ppm)?,
    })
}
