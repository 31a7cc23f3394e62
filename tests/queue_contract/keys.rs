//! API keys, as the store keeps them.

use reverie::keys::{NewKey, Scope, Scopes, Token};

use super::*;

fn new_key(tenant: &str, lifetime: Option<Duration>) -> (Token, NewKey) {
    let token = Token::generate().unwrap();
    let scopes: Scopes = [Scope::JobsRead, Scope::JobsWrite].into_iter().collect();
    (token.clone(), NewKey { lifetime, ..NewKey::new(&token, tenant.parse().unwrap(), scopes) })
}

pub async fn a_key_is_kept_without_its_secret(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let now = bench.options.clock.now();
    let (token, new) = new_key("lab", Some(Duration::from_secs(90)));
    let new = NewKey { max_priority: Some(4), ..new };
    assert!(bench.queue.find_key(token.id()).await.unwrap().is_none());
    let key = bench.queue.add_key(&new).await.unwrap();
    assert_eq!(
        (&key.id, key.tenant.as_str(), key.scopes.to_string()),
        (token.id(), "lab", "jobs:read,jobs:write".into())
    );
    assert_eq!((key.created_at, key.expires_at), (now, Some(now + Duration::from_secs(90))));
    assert_eq!((key.revoked_at, key.last_used_at, key.max_priority), (None, None, Some(4)));
    let bench = bench.reopened(factory).await;
    let found = bench.queue.find_key(token.id()).await.unwrap().unwrap();
    assert_eq!(found.key, key);
    assert!(found.digest.matches(&token) && !found.digest.matches(&new_key("lab", None).0));
    let (_, secret) =
        token.reveal().rsplit_once('_').map(|(id, secret)| (id.to_owned(), secret.to_owned())).unwrap();
    let row = "id || tenant || scopes || secret_sha256 || created_at || coalesce(expires_at, 0)";
    assert!(!factory.text(&format!("SELECT {row} FROM api_keys")).await.contains(&secret));
    // Adding it again, as every start does with the bootstrap key, changes nothing.
    bench.pass(Duration::from_secs(5));
    bench.queue.revoke_key(token.id()).await.unwrap();
    let revoked = bench.queue.find_key(token.id()).await.unwrap().unwrap().key;
    assert_eq!(bench.queue.add_key(&NewKey { scopes: Scopes::all(), ..new }).await.unwrap(), revoked);
}

pub async fn keys_are_listed_and_revoked(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let mut newest_first = Vec::new();
    for tenant in ["a", "b", "a"] {
        newest_first.insert(0, bench.queue.add_key(&new_key(tenant, None).1).await.unwrap());
        bench.pass(Duration::from_secs(1));
    }
    assert_eq!(bench.queue.list_keys(None).await.unwrap(), newest_first);
    let of_b = bench.queue.list_keys(Some(&"b".parse().unwrap())).await.unwrap();
    assert_eq!(of_b, newest_first[1..2]);
    assert!(bench.queue.list_keys(Some(&Tenant::DEFAULT)).await.unwrap().is_empty());
    let revoked_at = bench.options.clock.now();
    let revoked = bench.queue.revoke_key(&of_b[0].id).await.unwrap();
    assert_eq!(revoked.revoked_at, Some(revoked_at));
    bench.pass(Duration::from_secs(1));
    // The first time counts.
    assert_eq!(bench.queue.revoke_key(&of_b[0].id).await.unwrap(), revoked);
    let other = factory.open(bench.options.clone()).await;
    assert_eq!(other.find_key(&of_b[0].id).await.unwrap().unwrap().key, revoked);
    let unknown = bench.queue.revoke_key(new_key("a", None).0.id()).await;
    assert!(matches!(unknown, Err(QueueError::NoKey(_))), "{unknown:?}");
}

pub async fn the_use_of_a_key_is_noted_to_the_minute(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let id = bench.queue.add_key(&new_key("a", None).1).await.unwrap().id;
    let last_used = async || bench.queue.find_key(&id).await.unwrap().unwrap().key.last_used_at;
    let first = bench.options.clock.now();
    bench.queue.note_use(&id).await.unwrap();
    assert_eq!(last_used().await, Some(first));
    bench.pass(Duration::from_secs(59));
    bench.queue.note_use(&id).await.unwrap();
    assert_eq!(last_used().await, Some(first));
    bench.pass(Duration::from_secs(1));
    bench.queue.note_use(&id).await.unwrap();
    assert_eq!(last_used().await, Some(first + Duration::from_secs(60)));
}
