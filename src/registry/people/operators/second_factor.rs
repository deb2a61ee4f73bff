//! The second factor of operators: a sealed secret, the time step of the last code, and the hashes
//! of recovery codes.

use chrono::{DateTime, Utc};
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter};
use uuid::Uuid;

use super::{ActiveModel, Column, Entity, Operator, update};
use crate::registry::entities::operator_recovery_codes as codes;
use crate::registry::{OnRegistry, RegistryError, RegistryTransaction};
use crate::sealing::{Sealer, SealingError, aad};

impl Operator {
    /// The secret shared with their authenticator app, confirmed or not.
    pub fn totp_secret(&self, sealer: &Sealer) -> Result<Option<Vec<u8>>, SealingError> {
        self.sealed_totp_secret
            .as_ref()
            .map(|sealed| sealer.open(&aad::operator_totp_secret(self.id), sealed))
            .transpose()
    }
}

/// Stores a new secret, which is not required at sign-in until it is confirmed. `false` if the
/// operator has a confirmed one.
pub async fn enroll(
    db: &impl OnRegistry,
    sealer: &Sealer,
    operator: Uuid,
    secret: &[u8],
    now: DateTime<Utc>,
) -> Result<bool, RegistryError> {
    let row = ActiveModel {
        sealed_totp_secret: Set(Some(sealer.seal(&aad::operator_totp_secret(operator), secret)?)),
        totp_last_step: Set(0),
        updated_at: Set(now),
        ..Default::default()
    };
    let enrolled = Entity::update_many()
        .set(row)
        .filter(Column::Id.eq(operator))
        .filter(Column::TotpConfirmedAt.is_null())
        .exec(db)
        .await?;
    Ok(enrolled.rows_affected == 1)
}

/// Confirms the secret: from now on sign-ins require a code. Replaces all recovery codes.
pub async fn confirm(
    transaction: &RegistryTransaction,
    operator: Uuid,
    recovery_hashes: Vec<Vec<u8>>,
    now: DateTime<Utc>,
) -> Result<(), RegistryError> {
    let row = ActiveModel {
        totp_confirmed_at: Set(Some(now)),
        updated_at: Set(now),
        ..Default::default()
    };
    update(transaction, operator, row).await?;
    remove_recovery_codes(transaction, operator).await?;
    let rows = recovery_hashes.into_iter().map(|code_hash| codes::ActiveModel {
        operator_id: Set(operator),
        code_hash: Set(code_hash),
    });
    codes::Entity::insert_many(rows).exec_without_returning(transaction).await?;
    Ok(())
}

/// Records the time step of a code. `false` if a code of that step or of a later one was used
/// before.
pub async fn use_step(
    db: &impl OnRegistry,
    operator: Uuid,
    step: i64,
) -> Result<bool, RegistryError> {
    let used = Entity::update_many()
        .set(ActiveModel { totp_last_step: Set(step), ..Default::default() })
        .filter(Column::Id.eq(operator))
        .filter(Column::TotpLastStep.lt(step))
        .exec(db)
        .await?;
    Ok(used.rows_affected == 1)
}

/// Uses a recovery code. `false` if the operator has no such code, or has used it already.
pub async fn use_recovery_code(
    db: &impl OnRegistry,
    operator: Uuid,
    code_hash: Vec<u8>,
) -> Result<bool, RegistryError> {
    let used = codes::Entity::delete_many()
        .filter(codes::Column::OperatorId.eq(operator))
        .filter(codes::Column::CodeHash.eq(code_hash))
        .exec(db)
        .await?;
    Ok(used.rows_affected == 1)
}

/// Removes the second factor: from now on a password is enough again.
pub async fn disable(
    transaction: &RegistryTransaction,
    operator: Uuid,
    now: DateTime<Utc>,
) -> Result<(), RegistryError> {
    let row = ActiveModel {
        sealed_totp_secret: Set(None),
        totp_confirmed_at: Set(None),
        totp_last_step: Set(0),
        updated_at: Set(now),
        ..Default::default()
    };
    update(transaction, operator, row).await?;
    remove_recovery_codes(transaction, operator).await
}

async fn remove_recovery_codes(
    transaction: &RegistryTransaction,
    operator: Uuid,
) -> Result<(), RegistryError> {
    codes::Entity::delete_many()
        .filter(codes::Column::OperatorId.eq(operator))
        .exec(transaction)
        .await?;
    Ok(())
}
