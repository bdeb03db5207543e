//! Loads that measurements put on production.

use super::protected::Protected;

/// Rows of hashes that make a gigabyte.
const HASHES_PER_GB: f64 = 1_700_000.0;
/// What inserts may add before they begin anew.
const FILLER_LIMIT_BYTES: u64 = 1 << 30;
/// Rows of pgbench's accounts that fit a page, when a tenth of it is left free.
const ROWS_A_PAGE: u64 = 54;

/// Adds a table of hashes, which do not compress, of so many gigabytes.
pub fn add_hashes(protected: &Protected, gigabytes: f64) {
    let rows = (gigabytes * HASHES_PER_GB).ceil();
    protected.cluster.psql(&format!(
        "CREATE TABLE hashes AS SELECT g AS id, sha512(g::text::bytea) || sha512((-g)::text::bytea) || \
         sha512((g || 'a')::bytea) || sha512((g || 'b')::bytea) || sha512((g || 'c')::bytea) || \
         sha512((g || 'd')::bytea) || sha512((g || 'e')::bytea) || sha512((g || 'f')::bytea) AS noise \
         FROM generate_series(1, {rows}) g"
    ));
}

/// Updates and inserts until so many bytes of WAL are written; how many there are.
pub fn write_wal(protected: &Protected, bytes: u64) -> anyhow::Result<u64> {
    let cluster = &protected.cluster;
    let begin = protected.written()?;
    cluster.psql("CREATE TABLE IF NOT EXISTS filler (id int, note text)");
    let rows = cluster.psql("SELECT count(*) FROM pgbench_branches").trim().parse::<u64>()? * 100_000;
    loop {
        let so_far = protected.written()? - begin;
        if so_far >= bytes {
            return Ok(so_far);
        }
        // Pages anywhere, and new ones: as production writes, and more of it at once.
        cluster.psql(&format!(
            "UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid IN \
             (SELECT 1 + (random() * {rows})::int FROM generate_series(1, 2000)); \
             INSERT INTO filler SELECT g, md5(g::text) || md5((-g)::text) FROM generate_series(1, 50000) g"
        ));
        if protected.database_bytes()? > FILLER_LIMIT_BYTES + rows * 200 {
            cluster.psql("TRUNCATE filler");
        }
    }
}

/// Updates one row in each page of so large a part of the accounts' pages, anywhere; how many pages that were.
pub fn update_pages(protected: &Protected, part: f64) -> anyhow::Result<u64> {
    let cluster = &protected.cluster;
    let pages = "pg_relation_size('pgbench_accounts') / current_setting('block_size')::int";
    let all = cluster.psql(&format!("SELECT {pages}")).trim().parse::<u64>()?;
    let wanted = ((all as f64 * part).ceil() as u64).max(1);
    // Any row of a page will do; a page whose row is not there is one less.
    let sql = format!(
        "WITH chosen AS (SELECT DISTINCT (random() * {all})::bigint * {ROWS_A_PAGE} + 1 AS aid \
                         FROM generate_series(1, {wanted})), \
         updated AS (UPDATE pgbench_accounts a SET abalance = abalance + 1 FROM chosen \
                     WHERE a.aid = chosen.aid RETURNING 1) SELECT count(*) FROM updated"
    );
    Ok(cluster.psql(&sql).trim().parse()?)
}
