//! Two tenants, many requests, cancellations and timeouts at random moments: no answer may ever be another's.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use sea_orm::{ConnectionTrait, DbErr, Statement, TransactionSession, TransactionTrait};

use super::{TestPool, backend, limits, value};

const TASKS: u64 = 16;
const OPERATIONS: u64 = 125;
const CONNECTIONS: u32 = 3;

/// A small generator (splitmix64): the same seed makes the same choices.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

#[derive(Default)]
struct Tally {
    right: AtomicUsize,
    failed: AtomicUsize,
    cancelled: AtomicUsize,
}

/// A tenant's pool, whose table holds rows that bear the tenant's name.
struct Tenant {
    owner: &'static str,
    pool: TestPool,
}

impl Tenant {
    async fn open(owner: &'static str) -> Self {
        let options = |options: sqlx::postgres::PgConnectOptions| {
            options.options([("statement_timeout", "40")])
        };
        let pool = TestPool::open_with(limits(CONNECTIONS), options).await;
        pool.cluster.execute(super::DATABASE, &pool.note(owner)).await;
        Self { owner, pool }
    }

    /// Asks for the owner, with a tag that the answer must bear.
    async fn ask(&self, db: &impl ConnectionTrait, tag: &str, sleep: f64) -> Result<(), DbErr> {
        let sql = format!(
            "SELECT $1 || ' ' || note FROM {}, pg_sleep($2) WHERE note NOT LIKE '%:%'",
            self.pool.name
        );
        let values = [tag.into(), sleep.into()];
        let statement = Statement::from_sql_and_values(sea_orm::DbBackend::Postgres, sql, values);
        let rows = db.query_all_raw(statement).await?;
        let answers: Vec<String> =
            rows.iter().map(|row| row.try_get_by_index(0).unwrap()).collect();
        assert_eq!(answers, [format!("{tag} {}", self.owner)], "another's answer");
        Ok(())
    }

    async fn operate(&self, dice: &mut Dice, tag: &str) -> Result<(), DbErr> {
        let db = self.pool.acquire().await;
        let sleep = [0.0, 0.0, 0.001, 0.003, 0.2][dice.roll(5) as usize];
        match dice.roll(6) {
            0 | 1 => self.ask(&db, tag, sleep).await?,
            2 => {
                let transaction = db.begin().await?;
                let note = self.pool.note(&format!("{}: kept {tag}", self.owner));
                transaction.execute_unprepared(&note).await?;
                self.ask(&transaction, tag, sleep).await?;
                transaction.commit().await?;
            }
            3 => {
                let transaction = db.begin().await?;
                let note = self.pool.note(&format!("{}: never {tag}", self.owner));
                transaction.execute_unprepared(&note).await?;
                self.ask(&transaction, tag, sleep).await?;
            }
            4 => {
                let transaction = db.begin().await?;
                let inner = transaction.begin().await?;
                let note = self.pool.note(&format!("{}: never {tag}", self.owner));
                inner.execute_unprepared(&note).await?;
                inner.rollback().await?;
                self.ask(&transaction, tag, sleep).await?;
                transaction.commit().await?;
            }
            _ => {
                assert!(db.execute_unprepared("SELECT 1 / 0").await.is_err());
            }
        }
        self.ask(&db, &format!("{tag} again"), 0.0).await
    }
}

async fn play(tenants: Arc<[Tenant; 2]>, tally: Arc<Tally>, seed: u64) {
    let mut dice = Dice(seed);
    for round in 0..OPERATIONS {
        let tenant = &tenants[dice.roll(2) as usize];
        let tag = format!("{seed}.{round}");
        let patience = match dice.roll(3) {
            0 => Duration::from_secs(30),
            _ => Duration::from_micros(dice.roll(6_000)),
        };
        let outcome = tokio::time::timeout(patience, tenant.operate(&mut dice, &tag)).await;
        let counter = match outcome {
            Ok(Ok(())) => &tally.right,
            Ok(Err(_)) => &tally.failed,
            Err(_) => &tally.cancelled,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_answer_is_ever_anothers() {
    let tenants = Arc::new([Tenant::open("ada").await, Tenant::open("bob").await]);
    let tally = Arc::new(Tally::default());
    let tasks = (0..TASKS).map(|seed| tokio::spawn(play(tenants.clone(), tally.clone(), seed)));
    for task in join_all(tasks).await {
        task.unwrap();
    }
    let [right, failed, cancelled] =
        [&tally.right, &tally.failed, &tally.cancelled].map(|n| n.load(Ordering::Relaxed));
    assert!(right > 100 && failed > 10 && cancelled > 100, "{right} {failed} {cancelled}");

    for Tenant { owner, pool } in tenants.iter() {
        let strange = pool
            .notes()
            .await
            .into_iter()
            .find(|note| note != owner && !note.starts_with(&format!("{owner}: kept ")));
        assert_eq!(
            strange, None,
            "a row of another tenant or of a transaction that nobody committed"
        );
        assert!(pool.pool.connections() <= CONNECTIONS);
        let leases = join_all((0..CONNECTIONS).map(|_| pool.acquire())).await;
        let backends = join_all(leases.iter().map(backend)).await;
        for (db, backend) in leases.iter().zip(backends) {
            let state = format!("SELECT state FROM pg_stat_activity WHERE pid = {backend}");
            assert_eq!(pool.texts(&state).await, ["idle"]);
            let settings = "SELECT current_setting('transaction_read_only')";
            assert_eq!(value::<String>(db, settings).await.unwrap(), "off");
        }
        assert_eq!(pool.pool.connections(), CONNECTIONS);
    }
}
