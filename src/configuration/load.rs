//! Loads the settings and reports all their errors at once.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use config::{Config, File, FileFormat, Value};
use secrecy::ExposeSecret;
use serde::de::DeserializeOwned;

use super::public_url;
use super::sections::{ClerkSettings, Settings};

const PREFIX: &str = "NARTHEX_";
/// `NARTHEX_CONFIG` names the settings file; `NARTHEX_POSTGRES_BIN` is read by the private cluster.
/// Neither is a setting.
const NOT_SETTINGS: &[&str] = &["NARTHEX_CONFIG", "NARTHEX_POSTGRES_BIN"];

/// All errors of the settings. Each line names a setting and says what to do.
#[derive(Debug, thiserror::Error)]
#[error("the configuration has {} fault(s):\n{}", .0.len(), .0.join("\n"))]
pub struct ConfigurationError(pub Vec<String>);

/// Loads the settings of this process from the file and then the environment.
pub fn load(file: Option<&Path>) -> Result<Settings, ConfigurationError> {
    // `std::env::vars` would panic at any variable that is not UTF-8, even a foreign one.
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    load_from(file, environment)
}

/// As [`load`], with the given environment.
pub fn load_from(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Settings, ConfigurationError> {
    let mut faults = Vec::new();
    let mut builder = Config::builder();
    if let Some(path) = file {
        builder = builder.add_source(File::new(&path.to_string_lossy(), FileFormat::Toml));
    }
    for (key, value) in from_environment(environment, &mut faults) {
        match builder.clone().set_override(&key, value) {
            Ok(with_override) => builder = with_override,
            Err(e) => faults.push(format!("  {key}: {e}")),
        }
    }
    let config = match builder.build() {
        Ok(config) => config,
        Err(e) => {
            // The first line has the position; later lines quote the file, which may contain
            // secrets.
            faults.push(format!("  {}", e.to_string().lines().next().unwrap_or_default()));
            return Err(ConfigurationError(faults));
        }
    };

    let mut settings = Settings::default();
    let mut sections = Sections { config: &config, faults: &mut faults, known: Vec::new() };
    sections.read("http", &mut settings.http);
    sections.read("registry", &mut settings.registry);
    sections.read("router", &mut settings.router);
    sections.read("secrets", &mut settings.secrets);
    sections.read("auth", &mut settings.auth);
    sections.read("provisioning", &mut settings.provisioning);
    sections.read("telnyx", &mut settings.telnyx);
    sections.read("clerk", &mut settings.clerk);
    sections.read("limits", &mut settings.limits);
    sections.read("smtp", &mut settings.smtp);
    sections.read("log", &mut settings.log);
    sections.refuse_others();
    check(&settings, &mut faults);
    if faults.is_empty() { Ok(settings) } else { Err(ConfigurationError(faults)) }
}

/// Maps `NARTHEX_HTTP__LISTEN` to `http.listen`. The value of a variable with the suffix `_FILE` is
/// read from the file that it names.
fn from_environment(
    environment: impl IntoIterator<Item = (String, String)>,
    faults: &mut Vec<String>,
) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    let mut database_url = None;
    for (name, value) in environment {
        if name == "DATABASE_URL" {
            database_url = Some(value);
            continue;
        }
        let Some(key) = name.strip_prefix(PREFIX) else {
            continue;
        };
        if NOT_SETTINGS.contains(&name.as_str()) {
            continue;
        }
        let key = key.to_ascii_lowercase().replace("__", ".");
        match key.strip_suffix("_file") {
            None => {
                values.insert(key, value);
            }
            Some(plain) => match std::fs::read_to_string(PathBuf::from(&value)) {
                Ok(content) => {
                    values.insert(plain.to_owned(), content.trim_end().to_owned());
                }
                Err(e) => faults.push(format!("  {name}: cannot read {value}: {e}")),
            },
        }
    }
    if let Some(url) = database_url {
        values.entry("registry.url".to_owned()).or_insert(url);
    }
    values
}

struct Sections<'a> {
    config: &'a Config,
    faults: &'a mut Vec<String>,
    known: Vec<&'static str>,
}

impl Sections<'_> {
    fn read<T: DeserializeOwned>(&mut self, name: &'static str, into: &mut T) {
        self.known.push(name);
        if !self.config.cache_has(name) {
            return;
        }
        let Ok(mut table) = self.config.get_table(name) else {
            // The message omits the value, because it may be a secret under a truncated name.
            self.faults.push(format!("  {name}: is a section; set its keys, one by one"));
            return;
        };
        // Each key is deserialized separately, so that one wrong key does not hide another.
        table.retain(|key, value| {
            let alone = HashMap::from([(key.clone(), value.clone())]);
            let read = Value::new(None, alone).try_deserialize::<T>();
            read.map_err(|e| self.faults.push(format!("  {name}.{key}: {e}"))).is_ok()
        });
        match Value::new(None, table).try_deserialize() {
            Ok(section) => *into = section,
            Err(e) => self.faults.push(format!("  {name}: {e}")),
        }
    }

    fn refuse_others(&mut self) {
        for name in self.config.top_level() {
            if !self.known.contains(&name.as_str()) {
                self.faults.push(format!("  {name}: there is no such section"));
            }
        }
    }
}

trait TopLevel {
    fn top_level(&self) -> Vec<String>;
    fn cache_has(&self, name: &str) -> bool {
        self.top_level().iter().any(|key| key == name)
    }
}

impl TopLevel for Config {
    fn top_level(&self) -> Vec<String> {
        self.clone()
            .try_deserialize::<BTreeMap<String, Value>>()
            .map(|table| table.into_keys().collect())
            .unwrap_or_default()
    }
}

/// Checks for values that have the right type but cannot work.
fn check(settings: &Settings, faults: &mut Vec<String>) {
    let mut require = |holds: bool, message: &str| {
        if !holds {
            faults.push(format!("  {message}"));
        }
    };
    let router = &settings.router;
    require(router.max_open_tenants >= 1, "router.max_open_tenants: must be at least 1");
    require(
        (1..=50).contains(&router.max_connections_per_tenant),
        "router.max_connections_per_tenant: must be 1 to 50",
    );
    require(
        router.max_connections_per_server.is_none_or(|limit| limit >= 1),
        "router.max_connections_per_server: must be at least 1",
    );
    require(router.replicas >= 1, "router.replicas: must be at least 1");
    require(router.max_cold_opens >= 1, "router.max_cold_opens: must be at least 1");
    for (name, duration) in [
        ("router.acquire_timeout", router.acquire_timeout),
        ("router.connect_timeout", router.connect_timeout),
        ("router.idle_timeout", router.idle_timeout),
        ("router.retire_timeout", router.retire_timeout),
        ("router.directory_ttl", router.directory_ttl),
        ("router.statement_timeout", router.statement_timeout),
        ("http.request_timeout", settings.http.request_timeout),
        ("http.header_timeout", settings.http.header_timeout),
        ("http.idle_timeout", settings.http.idle_timeout),
        ("http.write_timeout", settings.http.write_timeout),
        ("http.body_silence", settings.http.body_silence),
        ("http.body_timeout", settings.http.body_timeout),
        ("http.webhook_deadline", settings.http.webhook_deadline),
        ("provisioning.wait", settings.provisioning.wait),
        ("auth.access_token_ttl", settings.auth.access_token_ttl),
        ("auth.refresh_token_ttl", settings.auth.refresh_token_ttl),
        ("auth.operator_session_ttl", settings.auth.operator_session_ttl),
    ] {
        require(
            duration.as_millis() >= 1,
            &format!("{name}: must be a time such as `500ms`, `3s` or `1h`, longer than zero"),
        );
    }
    let least = settings.least_registry_connections();
    require(
        settings.registry.max_connections >= least,
        &format!(
            "registry.max_connections: must be at least {least}; each of Clerk's deliveries that is worked on holds one \
             (clerk.webhook_secret is {})",
            if settings.clerk.webhook_secret.is_some() { "set" } else { "not set" },
        ),
    );
    let provisioning = &settings.provisioning;
    require(
        (1..=64).contains(&provisioning.concurrency),
        "provisioning.concurrency: must be between 1 and 64",
    );
    require(
        (Duration::from_secs(3)..=Duration::from_secs(600)).contains(&provisioning.lease),
        "provisioning.lease: must be between `3s` and `10m`",
    );
    let lifetime = provisioning.unproven_lifetime;
    require(
        lifetime.is_zero() || lifetime >= Duration::from_secs(24 * 3600),
        "provisioning.unproven_lifetime: must be at least `24h`, for as long as a letter is good, or `0s` for never",
    );
    require(provisioning.max_attempts >= 1, "provisioning.max_attempts: must be at least 1");
    require(settings.http.max_connections >= 1, "http.max_connections: must be at least 1");
    require(
        settings.http.max_connections_per_network >= 1,
        "http.max_connections_per_network: must be at least 1",
    );
    require(settings.http.max_body >= 1024, "http.max_body: must be at least 1024 bytes");
    check_clerk(&settings.clerk, &mut require);
    require(
        settings.auth.operator_session_ttl <= Duration::from_secs(8 * 3600),
        "auth.operator_session_ttl: must be at most `8h`",
    );
    let argon2 = &settings.auth.argon2;
    require(
        argon2::Params::new(argon2.memory_kib, argon2.iterations, argon2.parallelism, None).is_ok(),
        "auth.argon2: needs memory_kib of at least 8 for each lane, and at least one iteration and one lane",
    );
    if let Some(key) = &settings.secrets.master_key {
        let previous = settings.secrets.previous_master_keys.iter();
        let keys = crate::sealing::Sealer::new(
            key.expose_secret(),
            previous.map(secrecy::ExposeSecret::expose_secret),
        );
        if let Err(e) = keys {
            require(false, &format!("secrets.master_key: {e}"));
        }
    }
}

/// An incomplete configuration of an identity provider is an error, because it could look as if it
/// were complete.
fn check_clerk(clerk: &ClerkSettings, require: &mut impl FnMut(bool, &str)) {
    require(
        clerk.issuer.is_none() || !clerk.authorized_parties.is_empty(),
        "clerk.authorized_parties: must name the origins whose tokens are believed, such as \
         https://app.example.org, when clerk.issuer is set",
    );
    require(
        clerk.issuer.is_some() || clerk.jwks_url.is_none() && clerk.authorized_parties.is_empty(),
        "clerk.issuer: must be set for clerk.jwks_url and clerk.authorized_parties to mean anything",
    );
    for (name, url) in [("clerk.issuer", &clerk.issuer), ("clerk.jwks_url", &clerk.jwks_url)] {
        let safe = url.as_deref().is_none_or(is_safe_url);
        require(safe, &format!("{name}: must be an https:// URL (http:// for this machine alone)"));
    }
    let ends_plainly = clerk.issuer.as_deref().is_none_or(|issuer| !issuer.ends_with('/'));
    require(ends_plainly, "clerk.issuer: must not end with a slash; tokens name it without");
}

/// True if the URL is safe to fetch keys from: an attacker who can change the response could make
/// tokens.
fn is_safe_url(url: &str) -> bool {
    reqwest::Url::parse(url).is_ok_and(|url| public_url::is_safe(&url))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(vars: &[(&str, &str)]) -> Result<Settings, ConfigurationError> {
        load_from(None, vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())))
    }

    #[test]
    fn the_environment_overrides_defaults() {
        let settings = from(&[
            ("NARTHEX_HTTP__LISTEN", "0.0.0.0:9000"),
            ("NARTHEX_ROUTER__ACQUIRE_TIMEOUT", "750ms"),
            ("NARTHEX_ROUTER__MAX_OPEN_TENANTS", "7"),
            ("NARTHEX_AUTH__ARGON2__ITERATIONS", "3"),
            ("DATABASE_URL", "postgres://u@h/d"),
            ("UNRELATED", "x"),
        ])
        .unwrap();
        assert_eq!(settings.http.listen.port(), 9000);
        assert_eq!(settings.router.acquire_timeout.as_millis(), 750);
        assert_eq!(settings.router.max_open_tenants, 7);
        assert_eq!(settings.auth.argon2.iterations, 3);
        assert_eq!(settings.registry.url.unwrap().expose_secret(), "postgres://u@h/d");
    }

    #[test]
    fn the_environment_overrides_the_file_and_secrets_come_from_files() {
        let dir = tempfile::tempdir().unwrap();
        let (file, secret) = (dir.path().join("n.toml"), dir.path().join("url"));
        std::fs::write(&file, "[router]\nidle_timeout = \"5s\"\nmax_open_tenants = 9\n").unwrap();
        std::fs::write(&secret, "postgres://u:p@h/d\n").unwrap();
        let vars = [
            ("NARTHEX_ROUTER__MAX_OPEN_TENANTS".to_owned(), "8".to_owned()),
            ("NARTHEX_REGISTRY__URL_FILE".to_owned(), secret.display().to_string()),
        ];
        let settings = load_from(Some(&file), vars).unwrap();
        assert_eq!(settings.router.idle_timeout.as_secs(), 5);
        assert_eq!(settings.router.max_open_tenants, 8);
        assert_eq!(settings.registry.url.unwrap().expose_secret(), "postgres://u:p@h/d");
    }

    #[test]
    fn hosts_and_proxies_are_read_in_every_form() {
        let settings = from(&[
            ("NARTHEX_HTTP__BASE_DOMAIN", "App.Example.org."),
            ("NARTHEX_HTTP__TRUSTED_PROXIES", "10.0.0.0/8, fd00::/8,192.0.2.7,"),
        ])
        .unwrap();
        assert_eq!(settings.http.base_domain.unwrap().as_str(), "app.example.org");
        let networks: Vec<_> =
            settings.http.trusted_proxies.iter().map(std::string::ToString::to_string).collect();
        assert_eq!(networks, ["10.0.0.0/8", "fd00::/8", "192.0.2.7/32"]);

        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("n.toml");
        std::fs::write(&file, "[http]\ntrusted_proxies = [\"127.0.0.0/8\", \"::1\"]\n").unwrap();
        let settings = load_from(Some(&file), []).unwrap();
        assert_eq!(settings.http.trusted_proxies.len(), 2);
        assert!(from(&[]).unwrap().http.trusted_proxies.is_empty(), "nobody is trusted by default");
    }

    #[test]
    fn faults_of_hosts_and_proxies_name_the_setting_and_the_value() {
        let error = from(&[
            ("NARTHEX_HTTP__BASE_DOMAIN", "https://app.example.org"),
            ("NARTHEX_HTTP__TRUSTED_PROXIES", "10.0.0.0/8,10.0.0.0/33"),
        ])
        .unwrap_err();
        let text = error.to_string();
        assert_eq!(error.0.len(), 2, "{text}");
        for expected in [
            "http.base_domain: `https://app.example.org` is not a domain name",
            "http.trusted_proxies: `10.0.0.0/33` is neither a network",
        ] {
            assert!(text.contains(expected), "{expected} is missing in:\n{text}");
        }
    }

    #[test]
    fn a_registry_with_too_few_connections_for_clerks_deliveries_is_refused() {
        let with = |connections, secret| {
            let mut vars = vec![("NARTHEX_REGISTRY__MAX_CONNECTIONS", connections)];
            vars.extend(secret);
            from(&vars)
        };
        let secret = ("NARTHEX_CLERK__WEBHOOK_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        for (connections, secret, fault) in [
            ("1", None, Some("must be at least 2")),
            ("2", None, None),
            ("4", Some(secret), Some("must be at least 5")),
            ("5", Some(secret), None),
        ] {
            let found = with(connections, secret).err().map(|error| error.to_string());
            match fault {
                None => assert_eq!(found, None),
                Some(fault) => {
                    assert!(found.as_ref().is_some_and(|f| f.contains(fault)), "{found:?}");
                }
            }
        }
    }

    const CLERK: [(&str, &str); 2] = [
        ("NARTHEX_CLERK__ISSUER", "https://clerk.example.org"),
        ("NARTHEX_CLERK__AUTHORIZED_PARTIES", "https://app.example.org, https://b.example.org"),
    ];

    #[test]
    fn clerk_is_configured_with_the_origins_that_are_believed() {
        let clerk = from(&CLERK).unwrap().clerk;
        assert_eq!(clerk.authorized_parties, ["https://app.example.org", "https://b.example.org"]);
        assert_eq!((clerk.jwks_url, clerk.webhook_secret.is_none()), (None, true));
    }

    #[test]
    fn half_a_clerk_or_an_unsafe_one_is_refused() {
        let jwks = |url| ("NARTHEX_CLERK__JWKS_URL", url);
        let issuer = |url| ("NARTHEX_CLERK__ISSUER", url);
        for (vars, fault) in [
            (vec![CLERK[0]], "clerk.authorized_parties: must name"),
            (vec![CLERK[1]], "clerk.issuer: must be set"),
            (vec![jwks("https://clerk.example.org/jwks")], "clerk.issuer: must be set"),
            (
                vec![CLERK[0], CLERK[1], jwks("http://clerk.example.org/jwks")],
                "clerk.jwks_url: must be",
            ),
            (vec![CLERK[0], CLERK[1], jwks("file:///etc/passwd")], "clerk.jwks_url: must be"),
            (vec![CLERK[1], issuer("clerk.example.org")], "clerk.issuer: must be an https"),
            (vec![CLERK[1], issuer("https://clerk.example.org/")], "clerk.issuer: must not end"),
        ] {
            let error = from(&vars).unwrap_err();
            assert!(error.0.len() == 1 && error.to_string().contains(fault), "{vars:?}: {error}");
        }
        for near in ["http://127.0.0.1:9/jwks", "http://localhost/jwks", "http://[::1]:9/jwks"] {
            assert!(from(&[CLERK[0], CLERK[1], jwks(near)]).is_ok(), "{near}");
        }
    }

    #[test]
    fn all_faults_are_reported_at_once() {
        let error = from(&[
            ("NARTHEX_HTTP__LISTEN", "nowhere"),
            ("NARTHEX_ROUTER__MAX_CONNECTIONS_PER_TENANT", "51"),
            ("NARTHEX_REGISTRY__URI", "x"),
            ("NARTHEX_SECRETS__MASTER_KEY", "short"),
            ("NARTHEX_HTPP__LISTEN", "127.0.0.1:1"),
            ("NARTHEX_TELNYX__PUBLIC_KEY_FILE", "/does/not/exist"),
        ])
        .unwrap_err();
        let text = error.to_string();
        for expected in [
            "http.listen:",
            "max_connections_per_tenant",
            "uri",
            "master_key",
            "htpp",
            "/does/not/exist",
        ] {
            assert!(text.contains(expected), "{expected} is missing in:\n{text}");
        }
        assert_eq!(error.0.len(), 6, "{text}");
    }
}
