using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using BlockMount.Core.Errors;
using BlockMount.Host.Cli;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;

namespace BlockMount.Host.Hosting;

/// <summary>What may be asked of a host over its control socket, and what does it.</summary>
/// <param name="control">Does it.</param>
/// <param name="ending">Ends long work when the host does.</param>
internal sealed class ControlRoutes(HostControl control, CancellationToken ending)
{
    private static readonly TimeSpan s_longestDrain = TimeSpan.FromDays(1);

    public async Task AnswerAsync(HttpContext context)
    {
        try
        {
            await RouteAsync(context);
        }
        catch (OperationCanceledException) when (context.RequestAborted.IsCancellationRequested)
        {
            // The client has gone; nobody is left to tell.
        }
        catch (Exception e)
        {
            await ControlAnswers.FailAsync(context, e);
        }
    }

    private Task RouteAsync(HttpContext context)
    {
        // As it was sent: a name may hold a slash, which only shows before it is decoded.
        var target = context.Features.GetRequiredFeature<IHttpRequestFeature>().RawTarget;
        var end = target.IndexOf('?', StringComparison.Ordinal);
        var parts = (end < 0 ? target : target[..end]).Split('/').Skip(1).Select(Uri.UnescapeDataString).ToArray();
        var method = context.Request.Method;
        return (method, parts) switch
        {
            ("GET", ["v1", "status"]) => ControlAnswers.SendAsync(context, control.Status(), JsonModels.Default.HostStatus),
            ("GET", ["v1", "exports"]) => ControlAnswers.SendAsync(context, control.Status().Exports, JsonModels.Default.IReadOnlyListExportFacts),
            ("GET", ["v1", "health"]) => HealthAsync(context),
            ("GET", ["metrics"]) => ControlAnswers.SendTextAsync(context, Metrics(), MetricsText.ContentType),
            ("POST", ["v1", "exports"]) => AddAsync(context),
            ("DELETE", ["v1", "exports", var name]) => DoAsync(context, Exports.RemoveAsync(name, ending)),
            ("POST", ["v1", "exports", var name, var action]) => ActAsync(context, name, action),
            ("POST", ["v1", "stop"]) => DoAsync(context, control.Stop()),
            ("POST", ["v1", "handover"]) => DoAsync(context, (control.HandOver ?? throw NotOffered("no device of the kernel to hand over"))()),
            ("POST", ["v1", "reload"]) => ReloadAsync(context),
            ("POST", ["v1", "drain"]) => DrainAsync(context),
            _ => throw new DiskException(ErrorKind.NotFound, $"{method} {target}: there is no such route; CONTROL.md lists them."),
        };
    }

    private string Metrics()
    {
        if (control.Metrics is { } all)
        {
            return all();
        }

        var text = new MetricsText();
        text.Process();
        return text.ToString();
    }

    private IExportControl Exports => control.Exports ?? throw NotOffered("no exports that can be changed");

    private async Task HealthAsync(HttpContext context)
    {
        var problems = control.Problems();
        context.Response.StatusCode = problems.Count == 0 ? StatusCodes.Status200OK : StatusCodes.Status503ServiceUnavailable;
        await ControlAnswers.SendAsync(context, new HealthDocument(problems.Count == 0, problems), JsonModels.Default.HealthDocument);
    }

    private async Task AddAsync(HttpContext context)
    {
        var exports = Exports;
        var added = await exports.AddAsync(ConfigExport.Parse(await BodyAsync(context)), ending);
        context.Response.StatusCode = StatusCodes.Status201Created;
        await ControlAnswers.SendAsync(context, added, JsonModels.Default.IReadOnlyListExportFacts);
    }

    private async Task ActAsync(HttpContext context, string name, string action)
    {
        var exports = Exports;
        var body = await BodyAsync(context);
        using var both = CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted, ending);
        switch (action)
        {
            case "snapshot":
                var (path, format) = (body.Path("path"), body.Path("format"));
                body.End();
                await ControlAnswers.SendAsync(context, await exports.SnapshotAsync(name, path, format, both.Token), JsonModels.Default.SnapshotDocument);
                break;
            case "merge":
                var (from, to, intoParent) = (body.Number("from", least: 0), body.Number("to", least: 0), body.Flag("into_parent") ?? false);
                body.End();
                if (intoParent != (from is null && to is null) || (from is null) != (to is null))
                {
                    throw body.Refuse("says not what is to be merged; give from and to, or into_parent.");
                }

                await StreamAsync(context, JsonLines.Default.MergeDocument, (progress, cancel) => exports.MergeAsync(name, from, to, progress, cancel));
                break;
            case "compact":
                var image = body.Number("image", least: 0);
                body.End();
                await StreamAsync(context, JsonLines.Default.CompactDocument, (progress, cancel) => exports.CompactAsync(name, image, progress, cancel));
                break;
            case "read-only":
                var on = body.Flag("on") ?? throw body.Refuse("has no on; it must be true or false.");
                body.End();
                await DoAsync(context, exports.SetReadOnlyAsync(name, on, both.Token));
                break;
            case "attach":
                var connections = body.Number("connections", least: 1);
                body.End();
                await ControlAnswers.SendAsync(context, await exports.AttachAsync(name, connections, both.Token), JsonModels.Default.AttachDocument);
                break;
            case "detach":
                body.End();
                await DoAsync(context, exports.DetachAsync(name, both.Token));
                break;
            default:
                throw new DiskException(ErrorKind.NotFound, $"'{action}' is nothing that can be done with an export; known are snapshot, merge, compact, read-only, attach and detach.");
        }
    }

    private async Task ReloadAsync(HttpContext context)
    {
        var reload = control.Reload ?? throw NotOffered("no configuration file to read again (serve --config)");
        await ControlAnswers.SendAsync(context, await reload(ending), JsonModels.Default.ReloadDocument);
    }

    private async Task DrainAsync(HttpContext context)
    {
        var drain = control.Drain ?? throw NotOffered("no clients that could leave");
        var body = await BodyAsync(context);
        var (seconds, off) = (body.Number("seconds", least: 0), body.Flag("off") ?? false);
        body.End();
        if (off)
        {
            control.TakeClients!();
            await DoAsync(context, Task.CompletedTask);
            return;
        }

        var time = TimeSpan.FromSeconds(seconds ?? ServeDefaults.DrainTime.TotalSeconds);
        using var both = CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted, ending);
        await ControlAnswers.SendAsync(context, await drain(time < s_longestDrain ? time : s_longestDrain, both.Token), JsonModels.Default.DrainDocument);
    }

    private async Task StreamAsync<T>(HttpContext context, JsonTypeInfo<T> type, Func<Action<long, long>, CancellationToken, Task<T>> work)
    {
        using var both = CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted, ending);
        await ControlAnswers.StreamAsync(context, type, work, both);
    }

    private static async Task DoAsync(HttpContext context, Task what)
    {
        await what;
        await ControlAnswers.SendAsync(context, new DoneDocument(true), JsonModels.Default.DoneDocument);
    }

    private static DiskException NotOffered(string what) => new(ErrorKind.HostLacks, $"This host has {what}.");

    /// <summary>The request's JSON object; one without keys when there is no body.</summary>
    private static async Task<ConfigObject> BodyAsync(HttpContext context)
    {
        using var memory = new MemoryStream();
        await context.Request.Body.CopyToAsync(memory, context.RequestAborted);
        var bytes = memory.Length == 0 ? "{}"u8.ToArray() : memory.ToArray();
        try
        {
            using var document = JsonDocument.Parse(bytes);
            return new ConfigObject("the request", document.RootElement.Clone());
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            throw new DiskException(ErrorKind.InvalidArgument, $"The request is not JSON: {e.Message}", e);
        }
    }
}
