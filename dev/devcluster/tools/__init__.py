"""Programs that are downloaded against a digest or built once, and kept in the cache."""
