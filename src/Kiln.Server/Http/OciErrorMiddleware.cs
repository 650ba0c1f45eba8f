using System.Data.Common;
using Kiln.Oci;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace Kiln.Server.Http;

/// <summary>Turns what handlers throw into the one error format; a bug becomes a logged 500 without a trace on the wire.</summary>
internal sealed partial class OciErrorMiddleware(RequestDelegate next, ILogger<OciErrorMiddleware> log)
{
    private const int NoSpaceLeft = 28;

    public async Task InvokeAsync(HttpContext http)
    {
        // Docker's clients look for it before they believe that this is a registry.
        http.Response.Headers["Docker-Distribution-Api-Version"] = "registry/2.0";
        try
        {
            await next(http);
        }
        catch (OciException e)
        {
            await OciErrorWriter.WriteAsync(http, e.Error);
        }
        catch (BadHttpRequestException e)
        {
            var code =
                e.StatusCode == StatusCodes.Status413PayloadTooLarge ? ErrorCodes.BlobTooLarge : ErrorCodes.SizeInvalid;
            await OciErrorWriter.WriteAsync(http, new OciError(code with { Status = e.StatusCode }, e.Message));
        }
        catch (Exception) when (http.RequestAborted.IsCancellationRequested)
        {
            http.Abort();
        }
        catch (IOException e) when (e.HResult == NoSpaceLeft)
        {
            await OciErrorWriter.WriteAsync(
                http,
                new OciError(ErrorCodes.StorageFull, "the registry's disk is full; nothing was stored")
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

    [LoggerMessage(Level = LogLevel.Error, Message = "the database cannot be used: {Reason}")]
    private static partial void LogDatabase(ILogger log, string reason);

    [LoggerMessage(Level = LogLevel.Error, Message = "{Method} {Path} failed")]
    private static partial void LogBug(ILogger log, string method, string path, Exception exception);
}
