//! Everything that a database holds, as text: to compare, and to search.

use super::TestCluster;

impl TestCluster {
    /// One text a table of the public schema: its name, then its rows in a fixed order. Bytes are in hexadecimal.
    pub async fn contents(&self, database: &str) -> Vec<String> {
        let tables = self
            .texts(
                database,
                "SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1",
            )
            .await;
        let rows: Vec<String> = tables
            .iter()
            .map(|table| {
                format!(
                    "SELECT '{table}: ' || coalesce(string_agg(t::text, E'\\n' ORDER BY t::text), '') FROM \"{table}\" t"
                )
            })
            .collect();
        self.texts(database, &rows.join(" UNION ALL ")).await
    }

    /// Does any column of any table hold this text, plainly or as bytes?
    pub async fn holds(&self, database: &str, text: &str) -> bool {
        let bytes = hex::encode(text);
        self.contents(database)
            .await
            .iter()
            .any(|rows| rows.contains(text) || rows.contains(&bytes))
    }
}
