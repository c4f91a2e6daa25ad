//! One story, told in every place for sessions; Redis as a real server where it is installed.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use flotilla_store::{Kek, Sealer};

use super::*;

const IDLE: Duration = Duration::from_secs(60);

async fn store() -> Store {
    let config = DatabaseConfig { driver: Driver::Sqlite, url: "sqlite::memory:".to_owned() };
    let sealer = Sealer::new(vec![Kek::new("test", [1; 32]).unwrap()]).unwrap();
    let store = Store::open(&config, sealer).await.unwrap();
    store.migrate().await.unwrap();
    store
}

fn device() -> Device {
    Device { user_agent: "Mozilla/5.0".to_owned(), address: "192.0.2.1".to_owned() }
}

async fn story(backend: Box<dyn SessionBackend>) {
    use flotilla_identity::api_key::opaque_hash;
    use secrecy::ExposeSecret;
    let sessions = Sessions::with(backend, store().await, IDLE, Duration::from_secs(3600));
    let user = UserId::new();
    let (secret, one) = sessions.create(user, device()).await.unwrap();
    let (_, two) = sessions.create(user, device()).await.unwrap();
    let (_, others) = sessions.create(UserId::new(), device()).await.unwrap();
    let hash = opaque_hash(secret.expose_secret());
    let now = one.created_at_ms;
    let by_hash = async |at: i64| sessions.browser(By::Hash(&hash), at).await.unwrap();
    assert_eq!(by_hash(now).await, Some(one.clone()));
    assert_eq!(sessions.browser(By::Hash(secret.expose_secret()), now).await.unwrap(), None, "only the hash is kept");
    let listed: Vec<_> = sessions.list(user).await.unwrap().into_iter().map(|view| view.id).collect();
    assert_eq!(listed, [two.id, one.id]);

    // A use keeps it alive, before it is written and after.
    let idle = in_ms(IDLE);
    sessions.used(Via::Browser(one.id), now + idle - 1);
    assert!(by_hash(now + idle + 5).await.is_some());
    sessions.write_uses().await.unwrap();
    assert_eq!(by_hash(now + idle + 5).await.map(|session| session.last_seen_ms), Some(now + idle - 1));
    assert_eq!(by_hash(now + 2 * idle - 1).await, None, "idle for too long");
    assert_eq!(by_hash(now).await, None, "and ended by that");
    sessions.used(Via::Browser(one.id), now + 1);
    sessions.write_uses().await.unwrap();
    assert_eq!(by_hash(now).await, None, "a late use brings nothing back");

    assert_eq!(sessions.browser(By::Id(two.id), two.max_until_ms).await.unwrap(), None, "its time is over");
    assert_eq!(sessions.end_all(user).await.unwrap(), [two.id]);
    assert!(sessions.list(user).await.unwrap().is_empty());
    assert!(sessions.end(others.id).await.unwrap());
    assert!(!sessions.end(others.id).await.unwrap());
}

#[tokio::test]
async fn in_memory() {
    story(Box::<memory::Memory>::default()).await;
}

#[tokio::test]
async fn in_the_database() {
    story(Box::new(database::Database(store().await))).await;
}

/// A real server in a directory of its own, on a Unix socket; killed on drop.
struct RedisServer {
    child: Child,
    directory: tempfile::TempDir,
}

impl RedisServer {
    fn start() -> Option<Self> {
        let program = ["/usr/bin/redis-server", "/usr/local/bin/redis-server"]
            .into_iter()
            .find(|path| Path::new(path).exists())?;
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new(program);
        command
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
            .arg(directory.path().join("s"));
        command.arg("--dir").arg(directory.path()).stdin(Stdio::null()).stdout(Stdio::null());
        let server = Self { child: command.spawn().unwrap(), directory };
        let started = Instant::now();
        while std::os::unix::net::UnixStream::connect(server.directory.path().join("s")).is_err() {
            assert!(started.elapsed() < Duration::from_secs(20), "redis-server does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(server)
    }

    async fn connect(&self) -> redis::Redis {
        let url = format!("redis+unix://{}", self.directory.path().join("s").display());
        redis::Redis::connect(&SecretString::from(url)).await.unwrap()
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn in_redis() {
    let Some(server) = RedisServer::start() else {
        return flotilla_testbed::skipped("in_redis", "no redis-server; install Debian's package redis-server");
    };
    story(Box::new(server.connect().await)).await;
}

#[tokio::test]
async fn redis_forgets_by_itself_what_is_over() {
    let Some(server) = RedisServer::start() else {
        return flotilla_testbed::skipped("redis_forgets", "no redis-server; install Debian's package redis-server");
    };
    let backend = server.connect().await;
    let short = Sessions::with(Box::new(server.connect().await), store().await, IDLE, Duration::from_millis(300));
    let user = UserId::new();
    let (_, session) = short.create(user, device()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(backend.find(By::Id(session.id), i64::MIN).await.unwrap(), None);
    assert!(backend.list(user, i64::MIN).await.unwrap().is_empty());
}
