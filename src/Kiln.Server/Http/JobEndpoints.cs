using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.Oci;
using Kiln.Server.Access.Guard;
using Kiln.Server.Audit;
using Kiln.Server.Builds.Intake;
using Kiln.Server.Builds.Progress;
using Kiln.Server.Builds.Queue;
using Microsoft.AspNetCore.Http;

namespace Kiln.Server.Http;

/// <summary>Asking for builds, looking at them, cancelling them: bld-2 to bld-5 of the build extension.</summary>
internal sealed class JobEndpoints(
    JobIntake intake,
    JobReader jobs,
    Cancellation cancellation,
    Wakeups wakeups,
    BuildOptions options,
    TimeProvider time
)
{
    private const int DefaultPageSize = 20;
    private const int MaxPageSize = 100;
    private const string RetrySeconds = "2";
    private const string FullRetrySeconds = "10";

    public void Map(V2Router router) =>
        router
            .Map("POST", "{name}/_build/v1/jobs", Need.Build(AuditActions.JobRequest), Post)
            .Map("GET", "{name}/_build/v1/jobs", Need.Pull, List)
            .Map("GET", "{name}/_build/v1/jobs/{}", Need.Pull, Get)
            .Map("DELETE", "{name}/_build/v1/jobs/{}", Need.Build(AuditActions.JobCancel), Cancel);

    /// <exception cref="OciException"><c>BUILD_UNKNOWN</c>, 404.</exception>
    public static Job Require(JobReader jobs, V2Context context, string id) =>
        jobs.Get(context.Repository, id)
        ?? throw new OciException(
            BuildErrors.Unknown,
            $"repository {context.Repository} has no build '{V2Context.Shorten(id)}'"
        );

    private async Task Post(V2Context context)
    {
        var request = await JobRequestBody.ReadAsync(context, options);
        string id;
        try
        {
            id = await intake.SubmitAsync(
                context.Repository,
                request,
                context.Principal.Name,
                context.Cancel,
                repeatable: Repeatable(context, request)
            );
        }
        catch (OciException e) when (e.Error.Code == ErrorCodes.TooManyRequests)
        {
            context.Response.Headers.RetryAfter = FullRetrySeconds;
            throw;
        }

        var job = await WaitAsync(context, id, j => j.Done);
        context.Response.Headers.Location = job.Href;
        await WriteAsync(context, job, job.Done ? StatusCodes.Status200OK : StatusCodes.Status202Accepted);
    }

    private static RepeatableRequest? Repeatable(V2Context context, JobRequest request) =>
        IdempotencyKeys.Read(context, JsonSerializer.Serialize(request, BuildJson.Default.JobRequest))
            is var (key, hash)
            ? new RepeatableRequest(key, hash)
            : null;

    private async Task Get(V2Context context)
    {
        // Who names a revision waits for another one; who names none waits for the end.
        var known = context.Request.Headers.IfNoneMatch.ToString();
        var job = await WaitAsync(context, context[0], j => j.Done || (known.Length > 0 && !Matches(known, j)));
        if (known.Length > 0 && Matches(known, job))
        {
            context.Response.Headers.ETag = EntityTag(job);
            context.Response.StatusCode = StatusCodes.Status304NotModified;
            return;
        }

        await WriteAsync(context, job, StatusCodes.Status200OK);
    }

    private Task List(V2Context context)
    {
        var limit = Math.Min(context.PageSize() ?? DefaultPageSize, MaxPageSize);
        var (state, tag, recipe) = (context.Query("state"), context.Query("tag"), context.Query("recipe"));
        var page = jobs.List(context.Repository, context.Query("last"), limit, state, tag, recipe);
        if (page.More && page.Items.Count > 0)
        {
            context.SetNext(
                $"/v2/{context.Repository}/_build/v1/jobs",
                ("n", $"{limit}"),
                ("last", page.Items[^1].Id),
                ("state", state),
                ("tag", tag),
                ("recipe", recipe)
            );
        }

        return context.WriteJsonAsync(
            JsonSerializer.SerializeToUtf8Bytes(new JobList { Jobs = page.Items }, BuildJson.Default.JobList),
            context.Accepts(BuildMediaTypes.Jobs)
        );
    }

    private async Task Cancel(V2Context context)
    {
        Require(jobs, context, context[0]);
        await cancellation.CancelAsync(context[0], context.Cancel);
        var job = await WaitAsync(context, context[0], j => j.Done);
        await WriteAsync(context, job, job.Done ? StatusCodes.Status200OK : StatusCodes.Status202Accepted);
    }

    private async Task<Job> WaitAsync(V2Context context, string id, Func<Job, bool> enough)
    {
        var until = new Deadline(time, context.PreferredWait() ?? TimeSpan.Zero);
        while (true)
        {
            var next = wakeups.Next(Wakeups.Job(id));
            var job = Require(jobs, context, id);
            var left = until.Left;
            if (enough(job) || left <= TimeSpan.Zero || wakeups.IsStopping)
            {
                return job;
            }

            await wakeups.WaitAsync(next, left, context.Cancel);
        }
    }

    private static Task WriteAsync(V2Context context, Job job, int status)
    {
        var headers = context.Response.Headers;
        headers.ETag = EntityTag(job);
        if (!job.Done)
        {
            headers.RetryAfter = RetrySeconds;
        }

        return context.WriteJsonAsync(
            JsonSerializer.SerializeToUtf8Bytes(job, BuildJson.Default.Job),
            context.Accepts(BuildMediaTypes.Job),
            status
        );
    }

    private static string EntityTag(Job job) => $"W/\"{job.Revision}\"";

    private static bool Matches(string known, Job job) =>
        known.Split(',', StringSplitOptions.TrimEntries).Any(t => t == "*" || t == EntityTag(job));
}
