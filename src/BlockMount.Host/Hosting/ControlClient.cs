using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using BlockMount.Core.Errors;
using BlockMount.Host.Cli;

namespace BlockMount.Host.Hosting;

/// <summary>Asks one running host over its control socket.</summary>
internal sealed class ControlClient : IDisposable
{
    private static readonly Uri s_anyHost = new("http://localhost/");

    private readonly HttpClient _http;

    /// <param name="path">The host's control socket.</param>
    /// <param name="timeout">For an answer that is one document.</param>
    public ControlClient(string path, TimeSpan timeout)
    {
        var handler = new SocketsHttpHandler
        {
            UseProxy = false,
            ConnectCallback = async (_, cancellationToken) =>
            {
                var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
                try
                {
                    await socket.ConnectAsync(new UnixDomainSocketEndPoint(path), cancellationToken);
                    return new NetworkStream(socket, ownsSocket: true);
                }
                catch
                {
                    socket.Dispose();
                    throw;
                }
            },
        };
        _http = new HttpClient(handler) { BaseAddress = s_anyHost, Timeout = timeout };
    }

    public void Dispose() => _http.Dispose();

    /// <summary>What is said of an export goes to <c>v1/exports/NAME/…</c>.</summary>
    public static string ExportRoute(string export, string action = "") => $"v1/exports/{Uri.EscapeDataString(export)}{(action.Length > 0 ? "/" + action : "")}";

    /// <exception cref="DiskException">The host's own sentence.</exception>
    /// <exception cref="HttpRequestException">It is not there, or ended before it answered.</exception>
    public async Task<T> SendAsync<T>(HttpMethod method, string route, string? body, JsonTypeInfo<T> type, CancellationToken cancellationToken)
    {
        using var request = Request(method, route, body);
        using var response = await _http.SendAsync(request, cancellationToken);
        var text = await response.Content.ReadAsStringAsync(cancellationToken);
        return response.IsSuccessStatusCode ? Read(text, type) : throw ErrorOf(text);
    }

    /// <summary>The same for long work; what is known of its progress is reported.</summary>
    /// <param name="route">Is posted to.</param>
    /// <param name="body">JSON, or null.</param>
    /// <param name="type">Of the result.</param>
    /// <param name="progress">Told bytes done.</param>
    /// <param name="cancellationToken">Gives the work up.</param>
    public async Task<T> WorkAsync<T>(string route, string? body, JsonTypeInfo<T> type, IProgress<long>? progress, CancellationToken cancellationToken)
    {
        using var request = Request(HttpMethod.Post, route, body);
        using var response = await _http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, cancellationToken);
        await using var stream = await response.Content.ReadAsStreamAsync(cancellationToken);
        using var reader = new StreamReader(stream, Encoding.UTF8);
        if (!response.IsSuccessStatusCode)
        {
            throw ErrorOf(await reader.ReadToEndAsync(cancellationToken));
        }

        while (await reader.ReadLineAsync(cancellationToken) is { } line)
        {
            using var document = JsonDocument.Parse(line);
            if (document.RootElement.TryGetProperty("error", out _))
            {
                throw ErrorOf(line);
            }

            if (!document.RootElement.TryGetProperty("total", out _))
            {
                return Read(line, type);
            }

            progress?.Report(document.RootElement.GetProperty("done").GetInt64());
        }

        throw new DiskException(ErrorKind.Io, "The host ended before the work did; the disk is whole, look at its images with info.");
    }

    private static HttpRequestMessage Request(HttpMethod method, string route, string? body) =>
        new(method, new Uri(s_anyHost, route)) { Content = body is null ? null : new StringContent(body, Encoding.UTF8, "application/json") };

    private static T Read<T>(string text, JsonTypeInfo<T> type) =>
        JsonSerializer.Deserialize(text, type) ?? throw new DiskException(ErrorKind.Io, "The host answered nothing.");

    private static DiskException ErrorOf(string text)
    {
        try
        {
            return JsonSerializer.Deserialize(text, JsonModels.Default.ErrorDocument) is { } error
                ? new DiskException(ControlErrors.KindOf(error.Kind), error.Error)
                : new DiskException(ErrorKind.Io, "The host refused and did not say why.");
        }
        catch (JsonException)
        {
            return new DiskException(ErrorKind.Io, $"The host refused: {text}");
        }
    }
}
