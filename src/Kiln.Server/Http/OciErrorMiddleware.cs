using System.Data.Common;
using Kiln.BuildSpec;
using Kiln.Node;
using Kiln.Oci;
using Kiln.Server.Registry;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace Kiln.Server.Http;

/// <summary>Turns what handlers throw into the one error format; a bug becomes a logged 500 without a trace on the wire.</summary>
internal sealed partial class OciErrorMiddleware(RequestDelegate next, ILogger<OciErrorMiddleware> log)
{
    public async Task InvokeAsync(HttpContext http)
    {
        // Docker's clients look for it before they believe that this is a registry.
        http.Response.Headers["Docker-Distribution-Api-Version"] = "registry/2.0";
        try
        {
            RequestLimits.Check(http);
            await next(http);
        }
        catch (OciException e)
        {
            await OciErrorWriter.WriteAsync(http, e.Error);
        }
        catch (LeaseLostException e)
        {
            await OciErrorWriter.WriteAsync(http, new OciError(BuildErrors.LeaseLost, e.Message));
        }
        catch (BadHttpRequestException e)
        {
            await OciErrorWriter.WriteAsync(http, Describe(e));
        }
        catch (Exception) when (http.RequestAborted.IsCancellationRequested)
        {
            http.Abort();
        }
        catch (Exception e) when (FullDisk.Is(e))
        {
            await OciErrorWriter.WriteAsync(
                http,
                new OciError(
                    ErrorCodes.StorageFull,
                    "the registry's disk is full; nothing of this request was stored, and an upload goes on where it was when there is room"
                )
            );
        }
        catch (DbException e) when (e.IsTransient)
        {
            LogDatabase(log, e.Message);
            await OciErrorWriter.WriteAsync(
                http,
                new OciError(
                    ErrorCodes.Unavailable,
                    "the registry's database cannot be reached now; try again in a few seconds"
                )
            );
        }
        catch (Exception e)
        {
            LogBug(log, http.Request.Method, http.Request.Path, e);
            var message =
                $"this is a bug in the registry; its log has the details under request {http.TraceIdentifier}";
            await OciErrorWriter.WriteAsync(http, new OciError(ErrorCodes.Internal, message));
        }
    }

    // What the framework refuses while the body comes.
    private static OciError Describe(BadHttpRequestException e) =>
        e.StatusCode switch
        {
            StatusCodes.Status413PayloadTooLarge => new OciError(ErrorCodes.BlobTooLarge, e.Message),
            StatusCodes.Status408RequestTimeout => new OciError(
                ErrorCodes.BodyTooSlow,
                "the request's body came too slowly; an upload keeps what came, ask it for its range and go on there"
            ),
            _ => new OciError(ErrorCodes.SizeInvalid with { Status = e.StatusCode }, e.Message),
        };

    [LoggerMessage(Level = LogLevel.Error, Message = "the database cannot be used: {Reason}")]
    private static partial void LogDatabase(ILogger log, string reason);

    [LoggerMessage(Level = LogLevel.Error, Message = "{Method} {Path} failed")]
    private static partial void LogBug(ILogger log, string method, string path, Exception exception);
}
