//! What several nodes share beside the database: counters of rate limits, and leases.
