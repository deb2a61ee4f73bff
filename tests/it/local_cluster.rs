//! The private cluster: it serves, it survives crashes, and it never outlives its owner.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use local_cluster::{ClusterError, ClusterOptions, LocalCluster};
use sqlx::{ConnectOptions, Connection, PgConnection};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};

/// Makes `owner_process` act as an owner: `durable` or `temporary`, a colon, and the data directory.
const OWNER: &str = "NARTHEX_TEST_CLUSTER_OWNER";

/// A directory that the server's account may pass through, also when the tests run as root.
fn passable_dir() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711)).unwrap();
    dir
}

fn options(data_dir: &Path, durable: bool) -> ClusterOptions {
    ClusterOptions { data_dir: data_dir.to_owned(), durable, max_connections: 10 }
}

async fn connect(url: &str) -> Result<PgConnection, sqlx::Error> {
    let options: sqlx::postgres::PgConnectOptions = url.parse()?;
    options.disable_statement_logging().connect().await
}

async fn answer(url: &str, query: &'static str) -> String {
    let mut connection = connect(url).await.unwrap();
    let answer = sqlx::query_scalar(query).fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    answer
}

async fn make_note(url: &str) {
    let mut connection = connect(url).await.unwrap();
    let query = "CREATE TABLE note AS SELECT 'kept' AS text";
    sqlx::query(query).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !holds() {
        assert!(Instant::now() < deadline, "not within 5 s: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_temporary_cluster_serves_and_leaves_nothing() {
    let dir = passable_dir();
    let data_dir = dir.path().join("data");
    let cluster = LocalCluster::start(options(&data_dir, false)).await.unwrap();

    let url = cluster.url("postgres");
    assert_eq!(cluster.host(), "127.0.0.1");
    assert!(url.contains(&format!("@127.0.0.1:{}/postgres", cluster.port())));
    assert_eq!(answer(&url, "SELECT current_user::text").await, "narthex_admin");
    assert_eq!(answer(&url, "SHOW max_connections").await, "10");
    assert_eq!(answer(&url, "SHOW server_encoding").await, "UTF8");
    assert_eq!(answer(&url, "SHOW fsync").await, "off");

    cluster.stop().await.unwrap();
    assert!(!data_dir.exists());
    assert!(connect(&url).await.is_err());
}

#[tokio::test]
async fn a_wrong_password_is_refused() {
    let dir = passable_dir();
    let cluster = LocalCluster::start(options(&dir.path().join("data"), false)).await.unwrap();
    let url = format!("postgres://narthex_admin:wrong@127.0.0.1:{}/postgres", cluster.port());
    let error = connect(&url).await.unwrap_err();
    assert!(error.to_string().contains("password authentication failed"), "{error}");
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_durable_cluster_keeps_its_data_and_password() {
    let dir = passable_dir();
    let data_dir = dir.path().join("data");
    let first = LocalCluster::start(options(&data_dir, true)).await.unwrap();
    make_note(&first.url("postgres")).await;
    first.stop().await.unwrap();

    let mode = fs::metadata(data_dir.join("superuser-password")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let second = LocalCluster::start(options(&data_dir, true)).await.unwrap();
    assert_eq!(answer(&second.url("postgres"), "SELECT text FROM note").await, "kept");
    assert_eq!(answer(&second.url("postgres"), "SHOW fsync").await, "on");
    second.stop().await.unwrap();
}

#[tokio::test]
async fn a_crash_breaks_connections_and_a_restart_recovers_on_the_same_port() {
    let dir = passable_dir();
    let data_dir = dir.path().join("data");
    let mut cluster = LocalCluster::start(options(&data_dir, false)).await.unwrap();
    let url = cluster.url("postgres");
    make_note(&url).await;
    let mut connection = connect(&url).await.unwrap();

    cluster.crash().await.unwrap();
    assert!(connection.ping().await.is_err());
    assert!(connect(&url).await.is_err());
    assert!(data_dir.exists());

    cluster.restart().await.unwrap();
    assert_eq!(cluster.url("postgres"), url);
    assert_eq!(answer(&url, "SELECT text FROM note").await, "kept");

    cluster.restart().await.unwrap();
    assert_eq!(answer(&url, "SELECT text FROM note").await, "kept");
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_restart_on_a_port_that_was_taken_meanwhile_says_so() {
    let dir = passable_dir();
    let data_dir = dir.path().join("data");
    let mut cluster = LocalCluster::start(options(&data_dir, false)).await.unwrap();
    let pid_file = data_dir.join("cluster/postmaster.pid");
    let kept = data_dir.join("kept");
    fs::hard_link(&pid_file, &kept).unwrap();
    cluster.crash().await.unwrap();
    // Kill -9 of the server leaves a file that says "ready", and here somebody even listens on the port.
    fs::rename(&kept, &pid_file).unwrap();
    let listener = std::net::TcpListener::bind((cluster.host(), cluster.port())).unwrap();
    let error = cluster.restart().await.unwrap_err();
    assert!(matches!(error, ClusterError::PortTaken { port } if port == cluster.port()), "{error}");

    drop(listener);
    cluster.restart().await.unwrap();
    assert_eq!(answer(&cluster.url("postgres"), "SELECT 'back'").await, "back");
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_dropped_cluster_is_removed() {
    let dir = passable_dir();
    let data_dir = dir.path().join("data");
    let cluster = LocalCluster::start(options(&data_dir, false)).await.unwrap();
    drop(cluster);
    eventually("the data directory is gone", || !data_dir.exists()).await;
}

#[tokio::test]
async fn of_two_starts_at_once_one_is_refused() {
    let dir = passable_dir();
    let data_dir = dir.path().join("data");
    let (one, two) = tokio::join!(
        LocalCluster::start(options(&data_dir, true)),
        LocalCluster::start(options(&data_dir, true)),
    );
    let (cluster, error) = match (one, two) {
        (Ok(cluster), Err(error)) | (Err(error), Ok(cluster)) => (cluster, error),
        both => panic!("{both:?}"),
    };
    assert!(matches!(error, ClusterError::InUse { .. }), "{error}");
    assert!(error.to_string().contains(data_dir.to_str().unwrap()), "{error}");
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_foreign_directory_is_refused_untouched() {
    let dir = passable_dir();
    fs::write(dir.path().join("thesis.txt"), "years of work").unwrap();
    for durable in [true, false] {
        let error = LocalCluster::start(options(dir.path(), durable)).await.unwrap_err();
        assert!(matches!(error, ClusterError::NotOurs { .. }), "{error}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_durable_cluster_is_never_taken_for_a_temporary_one() {
    let dir = passable_dir();
    let data_dir = dir.path().join("data");
    LocalCluster::start(options(&data_dir, true)).await.unwrap().stop().await.unwrap();
    let error = LocalCluster::start(options(&data_dir, false)).await.unwrap_err();
    assert!(matches!(error, ClusterError::OtherKind { .. }), "{error}");
    assert!(data_dir.join("cluster/PG_VERSION").exists());
}

#[tokio::test]
async fn an_interrupted_initdb_is_done_again() {
    let dir = passable_dir();
    let data_dir = dir.path().join("data");
    LocalCluster::start(options(&data_dir, true)).await.unwrap().stop().await.unwrap();
    // As it lies there when `initdb` is killed half-way: under its first name, with parts missing.
    fs::rename(data_dir.join("cluster"), data_dir.join("cluster.new")).unwrap();
    fs::remove_dir_all(data_dir.join("cluster.new/base")).unwrap();
    fs::write(data_dir.join("initdb-password"), "left behind").unwrap();

    let cluster = LocalCluster::start(options(&data_dir, true)).await.unwrap();
    assert_eq!(
        answer(&cluster.url("postgres"), "SELECT current_user::text").await,
        "narthex_admin"
    );
    assert!(!data_dir.join("cluster.new").exists());
    assert!(!data_dir.join("initdb-password").exists());
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_process_id_that_another_program_has_got_does_not_block_the_start() {
    let dir = passable_dir();
    let data_dir = dir.path().join("data");
    LocalCluster::start(options(&data_dir, true)).await.unwrap().stop().await.unwrap();
    // PostgreSQL takes the file seriously only when its own account runs the process.
    let account = fs::metadata(data_dir.join("cluster")).unwrap().uid();
    let mut other = Command::new("sleep").arg("60").uid(account).current_dir("/").spawn().unwrap();
    let pid_file = format!("{}\n{}\n1\n1\n\n127.0.0.1\n\nready\n", other.id(), data_dir.display());
    fs::write(data_dir.join("cluster/postmaster.pid"), pid_file).unwrap();

    let started = LocalCluster::start(options(&data_dir, true)).await;
    assert!(other.try_wait().unwrap().is_none(), "the other program was left alone");
    other.kill().unwrap();
    other.wait().unwrap();
    started.unwrap().stop().await.unwrap();
}

#[tokio::test]
async fn a_server_that_cannot_start_shows_its_log() {
    let dir = passable_dir();
    let data_dir = dir.path().join("data");
    LocalCluster::start(options(&data_dir, true)).await.unwrap().stop().await.unwrap();
    fs::write(data_dir.join("cluster/postgresql.conf"), "no_such_setting = 1\n").unwrap();
    let error = LocalCluster::start(options(&data_dir, true)).await.unwrap_err();
    assert!(matches!(error, ClusterError::StartFailed { .. }), "{error}");
    assert!(error.to_string().contains("no_such_setting"), "{error}");
}

#[tokio::test]
async fn kill_9_of_the_owner_ends_and_removes_a_temporary_cluster() {
    let dir = passable_dir();
    let data_dir = dir.path().join("data");
    let owner = Owner::start("temporary", &data_dir).await;
    let mut connection = connect(&owner.url).await.unwrap();

    owner.kill_9().await;
    eventually("the data directory is gone", || !data_dir.exists()).await;
    assert!(connection.ping().await.is_err());
}

#[tokio::test]
async fn kill_9_of_the_owner_lets_the_next_one_start_at_once_with_the_data() {
    let dir = passable_dir();
    let data_dir = dir.path().join("data");
    let owner = Owner::start("durable", &data_dir).await;
    make_note(&owner.url).await;

    owner.kill_9().await;
    let cluster = LocalCluster::start(options(&data_dir, true)).await.unwrap();
    assert_eq!(answer(&cluster.url("postgres"), "SELECT text FROM note").await, "kept");
    cluster.stop().await.unwrap();
}

/// Another process that owns a cluster: this test program, running `owner_process` alone.
struct Owner {
    process: tokio::process::Child,
    url: String,
}

impl Owner {
    async fn start(kind: &str, data_dir: &Path) -> Owner {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "local_cluster::owner_process", "--nocapture"])
            .env(OWNER, format!("{kind}:{}", data_dir.display()))
            .stdout(Stdio::piped());
        let mut process =
            tokio::process::Command::from(command).kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        while let Some(line) = lines.next_line().await.unwrap() {
            // The test harness writes its own words into the same line.
            if let Some(at) = line.find("postgres://") {
                return Owner { process, url: line[at..].to_owned() };
            }
        }
        panic!("the owner ended before its cluster was ready");
    }

    async fn kill_9(mut self) {
        self.process.kill().await.unwrap();
    }
}

/// Not a test of its own: see `Owner`.
#[tokio::test]
async fn owner_process() {
    let Ok(order) = std::env::var(OWNER) else {
        return;
    };
    let (kind, data_dir) = order.split_once(':').unwrap();
    let options = options(&PathBuf::from(data_dir), kind == "durable");
    let cluster = LocalCluster::start(options).await.unwrap();
    println!("\n{}", cluster.url("postgres"));
    std::future::pending::<()>().await;
}
