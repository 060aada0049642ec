using System.Net.Sockets;
using System.Text;
using BlockMount.Host.Hosting;
using BlockMount.TestSupport;

namespace BlockMount.Host.Tests;

/// <summary>How a host answers those who ask it to end, and how its socket behaves.</summary>
public sealed class ControlSocketTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task Whoever_asks_for_the_end_is_answered_before_it_comes()
    {
        for (var i = 0; i < 50; i++)
        {
            var stopped = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            var control = new ControlSocket(_folder.Root, new HostControl(static () => throw new InvalidOperationException(), async () =>
            {
                stopped.SetResult();
                await Task.Delay(20);
            }));
            using var client = await ConnectAsync();
            await AskAsync(client, "POST /v1/stop");
            await stopped.Task;
            await control.DisposeAsync();

            // The answer is in the socket already: nothing of the host's would send it any more.
            Assert.True(client.Poll(0, SelectMode.SelectRead));
            Assert.Contains("200 OK", Received(client), StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task A_client_that_asks_nothing_does_not_hold_up_the_end()
    {
        var control = new ControlSocket(_folder.Root, Control());
        using var client = await ConnectAsync();
        using (var other = await ConnectAsync())
        {
            await AskAsync(other, "GET /v1/health");
            Assert.Contains("200 OK", Received(other), StringComparison.Ordinal);
        }

        await control.DisposeAsync();
        Assert.True(client.Poll(0, SelectMode.SelectRead));
        Assert.Equal(0, client.Receive(new byte[8]));
        Assert.Empty(Directory.GetFiles(_folder.Root));
    }

    [Fact]
    public async Task A_client_can_ask_from_the_first_moment_on_and_a_host_that_ends_at_once_does()
    {
        for (var i = 0; i < 20; i++)
        {
            await using (new ControlSocket(_folder.Root, Control()))
            {
                Assert.Equal((UnixFileMode)0b110_000_000, File.GetUnixFileMode(ControlPath));
                if (i % 2 == 0)
                {
                    using var client = await ConnectAsync();
                    await AskAsync(client, "GET /v1/health");
                    Assert.Contains("\"ok\": true", Received(client), StringComparison.Ordinal);
                }
            }

            Assert.False(File.Exists(ControlPath));
        }
    }

    [Fact]
    public async Task What_curl_asks_wrongly_is_answered_with_a_sentence_and_the_right_number()
    {
        Peer.Require("curl", "curl");
        await using var control = new ControlSocket(_folder.Root, Control() with { Problems = static () => ["a flush failed"] });
        foreach (var (arguments, status, sentence) in new (string[], int, string)[]
        {
            (["/v1/nothing"], 404, "there is no such route"),
            (["-X", "POST", "/v1/handover"], 501, "no device of the kernel"),
            (["-X", "POST", "/v1/reload"], 501, "no configuration file"),
            (["-d", "{}", "/v1/exports"], 501, "no exports"),
            (["-d", "{\"seconds\":", "/v1/drain"], 501, "no clients"),
            (["-X", "PATCH", "/v1/status"], 404, "PATCH /v1/status"),
            (["/v1/health"], 503, "a flush failed"),
        })
        {
            var output = await CurlAsync(arguments);
            Assert.EndsWith($" {status}", output, StringComparison.Ordinal);
            Assert.Contains(sentence, output, StringComparison.Ordinal);
        }

        // A host whose own code fails says so, and goes on.
        Assert.EndsWith(" 500", await CurlAsync("/v1/status"), StringComparison.Ordinal);
        Assert.EndsWith(" 503", await CurlAsync("/v1/health"), StringComparison.Ordinal);
    }

    private string ControlPath => _folder[Environment.ProcessId + ControlSocket.Suffix];

    private static HostControl Control() => new(static () => throw new InvalidOperationException(), static () => Task.CompletedTask);

    private static Task<int> AskAsync(Socket client, string request) =>
        client.SendAsync(Encoding.ASCII.GetBytes($"{request} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"));

    private static string Received(Socket client)
    {
        var answer = new byte[4096];
        var text = new StringBuilder();
        while (!text.ToString().Contains('}', StringComparison.Ordinal))
        {
            var length = client.Receive(answer);
            Assert.NotEqual(0, length);
            text.Append(Encoding.ASCII.GetString(answer, 0, length));
        }

        return text.ToString();
    }

    private Task<string> CurlAsync(params string[] arguments) => Peer.RunOkAsync(
        "curl", ["-s", "--unix-socket", ControlPath, "-w", " %{http_code}", .. arguments[..^1], "http://localhost" + arguments[^1]]);

    private async Task<Socket> ConnectAsync()
    {
        var client = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        await client.ConnectAsync(new UnixDomainSocketEndPoint(ControlPath));
        return client;
    }
}
