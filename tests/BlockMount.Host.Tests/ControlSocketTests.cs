using System.Net.Sockets;
using BlockMount.Host.Hosting;
using BlockMount.TestSupport;

namespace BlockMount.Host.Tests;

/// <summary>How a host answers those who ask it to end.</summary>
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
            await client.SendAsync("stop"u8.ToArray());
            await stopped.Task;
            await control.DisposeAsync();

            // The answer is in the socket already: nothing of the host's would send it any more.
            var answer = new byte[8];
            Assert.True(client.Poll(0, SelectMode.SelectRead));
            Assert.Equal("ok"u8, answer.AsSpan(0, client.Receive(answer)));
        }
    }

    [Fact]
    public async Task A_client_that_asks_nothing_does_not_hold_up_the_end()
    {
        var control = new ControlSocket(_folder.Root, new HostControl(static () => throw new InvalidOperationException(), static () => Task.CompletedTask));
        using var client = await ConnectAsync();
        await Task.Delay(50);
        await control.DisposeAsync();
        Assert.True(client.Poll(0, SelectMode.SelectRead));
        Assert.Equal(0, client.Receive(new byte[8]));
        Assert.Empty(Directory.GetFiles(_folder.Root));
    }

    private async Task<Socket> ConnectAsync()
    {
        var client = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        await client.ConnectAsync(new UnixDomainSocketEndPoint(_folder[Environment.ProcessId + ControlSocket.Suffix]));
        return client;
    }
}
