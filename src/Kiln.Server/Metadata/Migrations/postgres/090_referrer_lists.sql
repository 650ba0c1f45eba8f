-- Empty here, so that lists of referrers are made anew each time: a row for each subject would make every two pushes of
-- referrers of one subject wait for each other.
CREATE TABLE referrer_lists (
    repository BIGINT NOT NULL,
    subject    TEXT COLLATE "C" NOT NULL,
    state      BIGINT NOT NULL,
    PRIMARY KEY (repository, subject)
);
