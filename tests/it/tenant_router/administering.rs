//! The administration of other servers than the registry's.

use std::time::Duration;

use narthex::fleet::template;
use narthex::identifiers::{ServerId, new_id};
use narthex::postgres::ConnectFailure;
use narthex::postgres::administration::AdminServer;
use narthex::registry::tenants::REGISTRY_SERVER;
use narthex::registry::tenants::database_servers::{self, DatabaseServer, State};
use narthex::tenant_router::RouterError;

use super::{Hall, ask, connect, tenant};
use crate::support::{TestCluster, own_cluster};

/// Makes the tenant's role and database with the password that the registry has for it.
async fn settle(hall: &Hall, server: &AdminServer) {
    let id = hall.ids[0];
    let sealed = tenant(&hall.app.router, id).await.sealed_password.clone();
    let aad = narthex::sealing::aad::tenant_password(id);
    let password = hall.app.registry.sealer().open(&aad, &sealed).unwrap();
    let name = id.database_name();
    template::ensure(server).await.unwrap();
    let mut administration = server.administer().await.unwrap();
    let password = std::str::from_utf8(&password).unwrap();
    super::settle(&mut administration, server, &name, password).await;
    administration.close().await;
    let mut inside = server.connect(&name).await.unwrap();
    let identity =
        format!("INSERT INTO tenant_identity (tenant_id, created_at) VALUES ('{id}', now())");
    inside.batch(&identity).await.unwrap();
    inside.close().await;
}

#[tokio::test]
async fn a_tenant_is_made_on_another_server_and_served_there() {
    let hall = Hall::with(1).await;
    let second = own_cluster().await;
    let row = hall.app.server_row(&TestCluster::of(&second));
    let db = hall.app.registry.connect().await.unwrap();
    database_servers::add(&db, &row).await.unwrap().unwrap();
    let added = database_servers::find_by_name(&db, "second").await.unwrap().unwrap();
    assert_eq!((added.id, added.port, added.state), (row.id, row.port, State::Active));

    let router = hall.router(|_| {});
    let server = router.administration(&added).unwrap();
    settle(&hall, &server).await;
    let id = hall.ids[0];
    let here = ask(&connect(&router, id).await.unwrap()).await;
    hall.change_row(id, &format!("server_id = '{}', updated_at = now()", added.id)).await;
    let there = crate::support::eventually("the tenant is served there", async || {
        let sql = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE usename = '{}'",
            id.database_name()
        );
        let db = connect(&router, id).await.unwrap();
        let (tenant, process) = ask(&db).await;
        assert_eq!(tenant, id);
        process != here.1 && TestCluster::of(&second).count("postgres", &sql).await == 1
    });
    there.await;
    router.close();
}

#[tokio::test]
async fn each_server_is_administered_with_its_own_credentials_or_not_at_all() {
    let hall = Hall::with(0).await;
    let router = hall.router(|settings| settings.connect_timeout = Duration::from_secs(5));
    let db = hall.app.registry.connect().await.unwrap();
    let own = database_servers::find(&db, REGISTRY_SERVER).await.unwrap().unwrap();
    let server = router.administration(&own).unwrap();
    assert_eq!(server.role(), hall.app.registry.server().role());
    server.administer().await.unwrap().close().await;

    let row = hall.app.server_row(&hall.app.cluster);
    router.administration(&row).unwrap().administer().await.unwrap().close().await;
    let of_another_row = DatabaseServer { id: ServerId(new_id()), ..row.clone() };
    let refused = router.administration(&of_another_row).err().unwrap();
    assert!(matches!(refused, RouterError::Registry(_)), "{refused:?}");
    let without = DatabaseServer {
        administration_user: None,
        sealed_administration_password: None,
        ..row.clone()
    };
    let unusable = DatabaseServer { port: Some(0), ..row };
    for (row, reason) in [(without, "no credentials"), (unusable, "no port")] {
        let refused = router.administration(&row).err();
        let Some(RouterError::Unavailable(ConnectFailure::BadAddress(said))) = refused else {
            panic!("{refused:?}");
        };
        assert!(said.contains("`second`") && said.contains(reason), "{said}");
    }
}
