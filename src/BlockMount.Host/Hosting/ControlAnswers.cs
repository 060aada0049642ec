using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using BlockMount.Host.Cli;
using Microsoft.AspNetCore.Http;

namespace BlockMount.Host.Hosting;

/// <summary>How a host answers: one JSON document, or lines of them while long work goes on.</summary>
internal static class ControlAnswers
{
    public const string Lines = "application/x-ndjson";

    private const string Json = "application/json";

    private static readonly TimeSpan s_betweenLines = TimeSpan.FromMilliseconds(200);

    public static Task SendAsync<T>(HttpContext context, T document, JsonTypeInfo<T> type) =>
        SendAsync(context, JsonSerializer.SerializeToUtf8Bytes(document, type), Json);

    public static Task SendTextAsync(HttpContext context, string text, string type) => SendAsync(context, Encoding.UTF8.GetBytes(text), type);

    private static async Task SendAsync(HttpContext context, byte[] bytes, string type)
    {
        context.Response.ContentType = type;
        context.Response.ContentLength = bytes.Length;
        await context.Response.Body.WriteAsync(bytes, CancellationToken.None);
    }

    /// <summary>Tells why a request was refused, with the status code for it; as a last line when the answer has begun.</summary>
    public static async Task FailAsync(HttpContext context, Exception error)
    {
        var document = new ErrorDocument(error.Message, ControlErrors.NameOf(error));
        if (context.Response.HasStarted)
        {
            await LineAsync(context, document, JsonLines.Default.ErrorDocument);
            return;
        }

        context.Response.StatusCode = ControlErrors.StatusOf(error);
        await SendAsync(context, document, JsonModels.Default.ErrorDocument);
    }

    /// <summary>Carries out long work; each line before the last is how far it is. Ends when nothing of the work goes on any more.</summary>
    /// <param name="context">The request.</param>
    /// <param name="type">Of the last line.</param>
    /// <param name="work">The work.</param>
    /// <param name="cancellation">Gives the work up.</param>
    public static async Task StreamAsync<T>(
        HttpContext context, JsonTypeInfo<T> type, Func<Action<long, long>, CancellationToken, Task<T>> work, CancellationTokenSource cancellation)
    {
        ProgressDocument? latest = null, told = null;
        var working = work((done, total) => Volatile.Write(ref latest, new ProgressDocument(done, total)), cancellation.Token);
        try
        {
            context.Response.ContentType = Lines;
            while (await Task.WhenAny(working, Task.Delay(s_betweenLines, CancellationToken.None)) != working)
            {
                if (Volatile.Read(ref latest) is { } now && now != told)
                {
                    told = now;
                    await LineAsync(context, now, JsonLines.Default.ProgressDocument);
                }
            }
        }
        catch
        {
            await cancellation.CancelAsync();
            await ((Task)working).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            throw;
        }

        await LineAsync(context, await working, type);
    }

    private static async Task LineAsync<T>(HttpContext context, T document, JsonTypeInfo<T> type)
    {
        await context.Response.Body.WriteAsync((byte[])[.. JsonSerializer.SerializeToUtf8Bytes(document, type), (byte)'\n'], CancellationToken.None);
        await context.Response.Body.FlushAsync(CancellationToken.None);
    }
}
