//! Sessions in every place, by one story; Redis and PostgreSQL as real servers where they are installed.
