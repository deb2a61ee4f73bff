//! Custom domains, TLS to database servers, and the announcement of every change that a replica may
//! have cached.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const UP: &str = r"
-- The server of the registry itself (host NULL) is reached as registry.url says. Modes that a man in the middle can
-- talk down (prefer, allow) are not offered.
ALTER TABLE database_servers
    ADD COLUMN tls_mode text CHECK (tls_mode IN ('disable', 'require', 'verify-ca', 'verify-full')),
    -- PEM; NULL: the authorities that browsers believe.
    ADD COLUMN tls_authority text;
UPDATE database_servers SET tls_mode = 'verify-full' WHERE host IS NOT NULL;
ALTER TABLE database_servers
    ADD CHECK ((host IS NULL) = (tls_mode IS NULL));

-- A claim counts once it is proven; of many claims on one domain at most one is.
CREATE TABLE domains (
    domain text NOT NULL CHECK (domain = lower(domain) AND length(domain) <= 253),
    tenant_id uuid NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    proven_at timestamptz,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (domain, tenant_id)
);
CREATE UNIQUE INDEX domains_one_holder ON domains (domain) WHERE proven_at IS NOT NULL;
CREATE INDEX domains_by_tenant ON domains (tenant_id);

-- Which of two rows is the newer one is told by `updated_at`, whatever the clocks of those who write it say.
CREATE FUNCTION move_on() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    NEW.updated_at := greatest(NEW.updated_at, OLD.updated_at + interval '1 microsecond');
    RETURN NEW;
END $$;
CREATE TRIGGER move_on BEFORE UPDATE ON tenants FOR EACH ROW EXECUTE FUNCTION move_on();

-- One announcement a change: `tenant:<id>`, `host:<slug or domain>`, `server:<id>`; `*` where too much changed at once
-- to be named. By triggers, so that no way of changing a row can forget it; sent when the transaction commits.
CREATE FUNCTION announce_changes(changes text[]) RETURNS void LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF cardinality(changes) > 200 THEN
        PERFORM pg_notify('narthex_changes', '*');
    ELSE
        PERFORM pg_notify('narthex_changes', change) FROM unnest(changes) AS change WHERE change IS NOT NULL;
    END IF;
END $$;

CREATE FUNCTION announce_tenants() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        PERFORM announce_changes(array_agg('tenant:' || id) || array_agg('host:' || slug)) FROM new_rows;
    ELSIF TG_OP = 'DELETE' THEN
        PERFORM announce_changes(array_agg('tenant:' || id) || array_agg('host:' || slug)) FROM old_rows;
    ELSE
        PERFORM announce_changes(array_agg('tenant:' || n.id)
            || array_agg('host:' || o.slug) FILTER (WHERE o.slug <> n.slug)
            || array_agg('host:' || n.slug) FILTER (WHERE o.slug <> n.slug))
        FROM new_rows n LEFT JOIN old_rows o USING (id);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER announce_insert AFTER INSERT ON tenants REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION announce_tenants();
CREATE TRIGGER announce_update AFTER UPDATE ON tenants REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION announce_tenants();
CREATE TRIGGER announce_delete AFTER DELETE ON tenants REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION announce_tenants();

CREATE FUNCTION announce_domains() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        PERFORM announce_changes(array_agg(DISTINCT 'host:' || domain)) FROM old_rows;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        PERFORM announce_changes(array_agg(DISTINCT 'host:' || domain)) FROM new_rows;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER announce_insert AFTER INSERT ON domains REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION announce_domains();
CREATE TRIGGER announce_update AFTER UPDATE ON domains REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION announce_domains();
CREATE TRIGGER announce_delete AFTER DELETE ON domains REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION announce_domains();

CREATE FUNCTION announce_server() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM announce_changes(ARRAY['server:' || COALESCE(NEW.id, OLD.id)]);
    RETURN NULL;
END $$;
CREATE TRIGGER announce_change AFTER INSERT OR UPDATE OR DELETE ON database_servers
    FOR EACH ROW EXECUTE FUNCTION announce_server();

-- A truncated table has no rows to name.
CREATE FUNCTION announce_everything() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM pg_notify('narthex_changes', '*');
    RETURN NULL;
END $$;
CREATE TRIGGER announce_truncate AFTER TRUNCATE ON tenants
    FOR EACH STATEMENT EXECUTE FUNCTION announce_everything();
CREATE TRIGGER announce_truncate AFTER TRUNCATE ON domains
    FOR EACH STATEMENT EXECUTE FUNCTION announce_everything();
";

const DOWN: &str = r"
DROP TABLE domains;
DROP TRIGGER move_on ON tenants;
DROP TRIGGER announce_insert ON tenants;
DROP TRIGGER announce_update ON tenants;
DROP TRIGGER announce_delete ON tenants;
DROP TRIGGER announce_truncate ON tenants;
DROP TRIGGER announce_change ON database_servers;
DROP FUNCTION announce_tenants, announce_domains, announce_server, announce_everything, announce_changes, move_on;
ALTER TABLE database_servers DROP COLUMN tls_mode, DROP COLUMN tls_authority;
";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.get_connection().execute_unprepared(UP).await?;
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.get_connection().execute_unprepared(DOWN).await?;
        Ok(())
    }
}
