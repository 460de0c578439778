//! Plays a run to its end.

use crate::check::{self, Report};
use crate::run::Run;
use crate::world::World;

impl Run {
    /// Plays the run to its end and checks every claim.
    pub fn play(&self, trace: bool) -> Report {
        let mut world = World::new(self.clone(), trace);
        world.begin();
        let ended = world.until_quiet();
        let mut report = Report { messages: world.network.messages(), ..Report::default() };
        match ended {
            Ok(()) => check::everything(&mut world, &mut report),
            Err(stuck) => report.violations.push(stuck),
        }
        report.writes = world.places().into_iter().map(|place| (place, world.writes(place))).collect();
        report.trace = world.trace.take().unwrap_or_default();
        report
    }
}
