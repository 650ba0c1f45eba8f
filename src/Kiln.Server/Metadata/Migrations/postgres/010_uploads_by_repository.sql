-- How many uploads a repository has under way is asked with each new one.
CREATE INDEX uploads_by_repository ON uploads (repository);
