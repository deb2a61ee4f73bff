//! The steps of each kind of run. A run keeps the steps that it was recorded with. A changed list
//! is a new version, and the steps of an old version stay until no run of it is open.

use chrono::{DateTime, Utc};

use super::input::Input;
use super::saga::SagaStep;
use super::services::Services;
use super::steps;
use crate::identifiers::{RunId, TenantId, unguessable_id};
use crate::registry::runs::provisioning_runs::{self, NewRun, RunKind, TenantBusy};
use crate::registry::{OnRegistry, RegistryError};

/// The effect of a permanent error in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnFailure {
    /// The run is undone.
    Undo,
    /// The run cannot be undone: the step is tried again until it succeeds.
    KeepTrying,
}

/// One version of a kind of run.
pub(super) struct Definition {
    pub kind: RunKind,
    pub version: i32,
    pub on_failure: OnFailure,
    pub steps: &'static [&'static SagaStep],
}

static DEFINITIONS: &[Definition] = &[
    Definition {
        kind: RunKind::CreateTenant,
        version: 1,
        on_failure: OnFailure::Undo,
        steps: &[
            &steps::reserve::STEP,
            &steps::role::STEP,
            &steps::database::STEP,
            &steps::schema::STEP,
            &steps::seed::STEP,
            &steps::owner::STEP,
            &steps::external::IDENTITY_REALM,
            &steps::external::STORAGE,
            &steps::external::INFRASTRUCTURE,
            &steps::external::DEPLOYMENT,
            &steps::external::DNS,
            &steps::activate::STEP,
        ],
    },
    Definition {
        kind: RunKind::AnnounceTenant,
        version: 1,
        on_failure: OnFailure::Undo,
        steps: &[&steps::external::NOTIFY],
    },
    Definition {
        kind: RunKind::PurgeTenant,
        version: 1,
        on_failure: OnFailure::KeepTrying,
        steps: &[
            &steps::purge::CLOSE,
            &steps::external::RELEASE_DNS,
            &steps::external::RELEASE_DEPLOYMENT,
            &steps::external::RELEASE_INFRASTRUCTURE,
            &steps::external::RELEASE_STORAGE,
            &steps::external::RELEASE_IDENTITY_REALM,
            &steps::purge::DROP_DATABASE,
            &steps::purge::DROP_ROLE,
            &steps::purge::FORGET,
        ],
    },
    Definition {
        kind: RunKind::ReprovisionTenant,
        version: 1,
        on_failure: OnFailure::Undo,
        steps: &[
            &steps::repair::HOLD,
            &steps::repair::ROLE,
            &steps::repair::DATABASE_STEP,
            &steps::repair::SCHEMA,
            &steps::repair::PRESEED,
            &steps::repair::OWNER,
            &steps::repair::RELEASE,
        ],
    },
];

impl Definition {
    /// The definition of a kind in one version. `None` if this program does not know it.
    pub fn of(kind: RunKind, version: i32) -> Option<&'static Self> {
        DEFINITIONS.iter().find(|known| (known.kind, known.version) == (kind, version))
    }

    /// The version that new runs of the kind get.
    pub fn newest(kind: RunKind) -> &'static Self {
        let of_kind = DEFINITIONS.iter().filter(|known| known.kind == kind);
        of_kind.max_by_key(|known| known.version).unwrap_or(&DEFINITIONS[0])
    }

    /// All versions of these kinds that this program knows.
    pub fn known(kinds: &[RunKind]) -> Vec<(RunKind, i32)> {
        let of_kinds = DEFINITIONS.iter().filter(|known| kinds.contains(&known.kind));
        of_kinds.map(|known| (known.kind, known.version)).collect()
    }

    /// The step of that name.
    pub fn step(name: &str) -> Option<&'static SagaStep> {
        // The name that programs before the introduction of leases used.
        let name = if name == "identity" { steps::schema::STEP.name } else { name };
        let all = DEFINITIONS.iter().flat_map(|definition| definition.steps);
        all.copied().find(|step| step.name == name)
    }

    /// A run that is to be recorded. Steps that are switched off are left out.
    pub fn plan(
        &self,
        services: &Services,
        tenant: TenantId,
        input: Option<&Input>,
    ) -> Result<Plan, RegistryError> {
        let id = RunId(unguessable_id());
        let sealer = services.registry.sealer();
        let sealed_input = input.map(|input| input.seal(sealer, id)).transpose()?;
        let wanted = |step: &SagaStep| match step.name {
            "owner" => matches!(input, Some(Input::Create(create)) if create.owner.is_some()),
            name => steps::external::made_by(name).is_none_or(|hook| services.hooks.is_on(hook)),
        };
        let steps = self.steps.iter().filter(|step| wanted(step)).map(|step| step.name).collect();
        Ok(Plan { id, kind: self.kind, version: self.version, tenant, sealed_input, steps })
    }
}

/// A run that is about to be recorded.
pub(super) struct Plan {
    pub id: RunId,
    kind: RunKind,
    version: i32,
    tenant: TenantId,
    sealed_input: Option<Vec<u8>>,
    steps: Vec<&'static str>,
}

impl Plan {
    pub async fn write(
        self,
        db: &impl OnRegistry,
        actor: &str,
        now: DateTime<Utc>,
    ) -> Result<Result<(), TenantBusy>, RegistryError> {
        let Self { id, kind, version, tenant, sealed_input, steps } = self;
        let new = NewRun { id, kind, version, tenant, sealed_input, steps: &steps };
        provisioning_runs::create(db, new, actor, now).await
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_name_stands_for_one_step() {
        let mut names: BTreeMap<&str, &SagaStep> = BTreeMap::new();
        for step in DEFINITIONS.iter().flat_map(|definition| definition.steps.iter().copied()) {
            let known = names.insert(step.name, step);
            assert!(known.is_none_or(|known| std::ptr::eq(known, step)), "{}", step.name);
        }
    }

    #[test]
    fn every_kind_has_definitions_of_different_versions() {
        for kind in <RunKind as sea_orm::Iterable>::iter() {
            let newest = Definition::newest(kind);
            assert_eq!(newest.kind, kind);
            for definition in DEFINITIONS.iter().filter(|definition| definition.kind == kind) {
                let found = Definition::of(kind, definition.version).unwrap();
                assert!(std::ptr::eq(found, definition));
            }
        }
    }

    #[test]
    fn nothing_is_activated_before_its_preseed_is_proven() {
        for (first, last) in [("preseed", "activate"), ("mend_preseed", "release")] {
            let definition = DEFINITIONS.iter().find(|d| d.steps.iter().any(|s| s.name == last));
            let target = |name| definition.unwrap().steps.iter().position(|step| step.name == name);
            assert!(target(first).unwrap() < target(last).unwrap());
        }
    }
}
