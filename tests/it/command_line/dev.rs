use std::path::{Path, PathBuf};
use std::process::Stdio;

use local_cluster::{ClusterOptions, LocalCluster};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::Child;

use super::{Said, narthex};
use crate::support::{TestCluster, eventually};

/// What the shell of a person who works with other PostgreSQL servers may hold. None of it concerns the private one.
const FOREIGN: [(&str, &str); 16] = [
    ("PGHOST", "db.invalid"),
    ("PGHOSTADDR", "192.0.2.1"),
    ("PGPORT", "1"),
    ("PGUSER", "nobody"),
    ("PGPASSWORD", "wrong"),
    ("PGPASSFILE", "/nonexistent"),
    ("PGDATABASE", "elsewhere"),
    ("PGOPTIONS", "-c search_path=elsewhere -c statement_timeout=1"),
    ("PGSSLMODE", "require"),
    ("PGSSLROOTCERT", "/nonexistent"),
    ("PGSSLCERT", "/nonexistent"),
    ("PGCLIENTENCODING", "LATIN1"),
    ("PGDATA", "/nonexistent"),
    ("LC_ALL", "xx_XX.nonsense"),
    ("TZ", "Nowhere/Nonsense"),
    ("http_proxy", "http://127.0.0.1:1"),
];

/// A directory for a dev instance, gone with the test.
struct DataDir(PathBuf);

impl DataDir {
    /// Directly below the system's directory for temporary files: the server's account may enter there.
    fn new() -> Self {
        let name = format!("narthex-test-{}", uuid::Uuid::new_v4().simple());
        Self(std::env::temp_dir().join(name))
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    /// The process of its PostgreSQL.
    fn server(&self) -> Pid {
        let file = std::fs::read_to_string(self.0.join("cluster/postmaster.pid")).unwrap();
        Pid::from_raw(file.lines().next().unwrap().parse().unwrap())
    }

    fn instance(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.0.join("instance.json")).unwrap()).unwrap()
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn lives(pid: Pid) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// A dev instance that has said where it listens.
struct Dev {
    process: Child,
    /// All that it had said by then.
    welcome: String,
}

impl Dev {
    async fn start(data_dir: &DataDir) -> Self {
        // Somebody has the port that the operations listener is to have.
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut process =
            narthex(&["dev", "--data-dir", data_dir.path(), "--listen", "127.0.0.1:0"])
                .envs(FOREIGN)
                .env("NARTHEX_HTTP__OPERATIONS_LISTEN", taken.local_addr().unwrap().to_string())
                .stdout(Stdio::piped())
                .stderr(Stdio::inherit())
                .spawn()
                .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut welcome = String::new();
        while !welcome.contains(" demo --data-dir ") {
            let line = lines.next_line().await.unwrap();
            let line = line.unwrap_or_else(|| panic!("it ended too early:\n{welcome}"));
            welcome.push_str(&line);
            welcome.push('\n');
        }
        Self { process, welcome }
    }

    fn send(&self, signal: Signal) {
        kill(Pid::from_raw(self.process.id().unwrap().cast_signed()), signal).unwrap();
    }

    /// The address of the metrics, as it was told.
    fn metrics_url(&self) -> &str {
        let told = self.welcome.split_whitespace().find(|word| word.ends_with("/metrics"));
        told.unwrap_or_else(|| panic!("{}", self.welcome))
    }

    /// The names of the two databases.
    fn databases(&self) -> Vec<&str> {
        self.welcome.split_whitespace().filter(|word| word.starts_with("tenant_")).collect()
    }
}

async fn run(arguments: &[&str]) -> Said {
    Said::of(narthex(arguments).envs(FOREIGN).output().await.unwrap())
}

#[tokio::test]
async fn dev_and_demo_tell_the_whole_story() {
    let data_dir = DataDir::new();
    let demo = ["demo", "--data-dir", data_dir.path()];
    run(&demo).await.expect_error(1, &["no dev instance runs in", "narthex dev"]);

    let mut first = Dev::start(&data_dir).await;
    assert_eq!(first.databases().len(), 2, "{}", first.welcome);
    let client = narthex::outbound::builder().no_proxy().build().unwrap();
    assert_eq!(client.get(first.metrics_url()).send().await.unwrap().status(), 200);
    let told = run(&demo).await.expect(0);
    assert!(told.contains("steps held"), "{told}");
    let sms = [
        "simulate",
        "sms",
        "--to",
        "+13125550111",
        "--text",
        "Hello",
        "--data-dir",
        data_dir.path(),
    ];
    assert!(run(&sms).await.expect(0).contains("accepted"));
    let secret = data_dir.instance()["master_key"].as_str().unwrap().to_owned();
    assert!(!first.welcome.contains(&secret) && !told.contains(&secret));

    let second = ["dev", "--data-dir", data_dir.path(), "--listen", "127.0.0.1:0"];
    run(&second).await.expect_error(1, &["is in use by another process", data_dir.path()]);
    run(&demo).await.expect(0);

    let server = data_dir.server();
    first.send(Signal::SIGKILL);
    first.process.wait().await.unwrap();
    let mut restarted = Dev::start(&data_dir).await;
    assert!(!lives(server) || data_dir.server() == server, "two servers work on one directory");
    assert_eq!(restarted.databases(), first.databases());
    assert_eq!(data_dir.instance()["master_key"], secret.as_str());
    run(&demo).await.expect(0);

    let server = data_dir.server();
    assert!(lives(server));
    restarted.send(Signal::SIGTERM);
    assert_eq!(restarted.process.wait().await.unwrap().code(), Some(0));
    eventually("its PostgreSQL is gone", async || !lives(server)).await;
    run(&demo).await.expect_error(1, &["no dev instance runs in"]);

    // As if the first start had been cut off just before a demo tenant was active.
    let options =
        ClusterOptions { data_dir: data_dir.0.clone(), durable: true, max_connections: 20 };
    let cluster = LocalCluster::start(options).await.unwrap();
    let half_made = "UPDATE tenants SET status = 'provisioning' WHERE slug = 'grace-chapel';
        UPDATE provisioning_runs r SET status = 'running', finished_at = NULL FROM tenants t
        WHERE t.id = r.tenant_id AND t.status = 'provisioning';
        UPDATE provisioning_steps s SET status = 'running' FROM provisioning_runs r
        WHERE r.id = s.run_id AND r.status = 'running' AND s.name = 'activate'";
    let server = TestCluster::of(&cluster);
    server.execute("narthex_registry", half_made).await;
    // And the other one made by an older program.
    let older = "m20261121_000002_preseed";
    let other = "SELECT database_name FROM tenants WHERE slug = 'hope-fellowship'";
    let other = server.texts("narthex_registry", other).await.remove(0);
    let aged =
        format!("UPDATE tenants SET schema_version = '{older}' WHERE database_name = '{other}'");
    server.execute("narthex_registry", &aged).await;
    server.age(&other, 2).await;
    cluster.stop().await.unwrap();
    let mut third = Dev::start(&data_dir).await;
    assert_eq!(third.databases(), restarted.databases());
    run(&demo).await.expect(0);
    third.send(Signal::SIGTERM);
    assert_eq!(third.process.wait().await.unwrap().code(), Some(0));
}
