-- Whether a build may be done on a machine that emulates its platform, and whether the node that has it, or had it last, does.
ALTER TABLE executions ADD COLUMN emulation BIGINT NOT NULL DEFAULT 1;
ALTER TABLE executions ADD COLUMN emulated BIGINT NOT NULL DEFAULT 0;
