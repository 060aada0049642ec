using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using BlockMount.Core.Errors;
using BlockMount.Host.Cli;

namespace BlockMount.Host.Hosting;

/// <summary>
/// How other commands of this user reach a running host: a Unix socket named after its process in the run directory. A client sends
/// one word; <c>status</c> is answered with a document, <c>stop</c> and <c>handover</c> once that is done (<c>ok</c>, or a sentence).
/// </summary>
internal sealed class ControlSocket : IAsyncDisposable
{
    public const string Suffix = ".control";
    public const string Status = "status";
    public const string Stop = "stop";
    public const string HandOver = "handover";
    public const string Ok = "ok";

    private const int Backlog = 8;

    // For a client that does not take its answer.
    private static readonly TimeSpan s_longestAnswer = TimeSpan.FromSeconds(2);

    private readonly string _path;
    private readonly Socket _listener;
    private readonly HostControl _control;
    private readonly Task _accepting;
    private readonly CancellationTokenSource _ending = new();
    private readonly HashSet<Task> _answering = [];

    /// <param name="directory">The run directory, private to this user.</param>
    /// <param name="control">Does what is asked.</param>
    /// <exception cref="DiskException">The socket cannot be made there.</exception>
    public ControlSocket(string directory, HostControl control)
    {
        _path = Path.Combine(directory, Environment.ProcessId + Suffix);
        _control = control;
        _listener = Listen(_path);
        _accepting = AcceptAsync();
    }

    /// <summary>Waits for answers on their way: whoever asked for the end is told of it before the process ends.</summary>
    public async ValueTask DisposeAsync()
    {
        _listener.Dispose();
        await _accepting;
        await _ending.CancelAsync();
        Task[] answers;
        lock (_answering)
        {
            answers = [.. _answering];
        }

        await Task.WhenAny(Task.WhenAll(answers), Task.Delay(s_longestAnswer));
        File.Delete(_path);
        _ending.Dispose();
    }

    private static Socket Listen(string path)
    {
        var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            // Only a dead process can have had this number before.
            File.Delete(path);
            listener.Bind(new UnixDomainSocketEndPoint(path));
            listener.Listen(Backlog);
            return listener;
        }
        catch (Exception e) when (e is SocketException or ArgumentException or IOException or UnauthorizedAccessException)
        {
            // An argument exception: the path has more bytes than a socket's may have.
            listener.Dispose();
            throw new DiskException(
                ErrorKind.AccessDenied, $"{path}: the socket by which list and status reach this host cannot be made: {e.Message.ReplaceLineEndings(" ")}", e);
        }
    }

    private async Task AcceptAsync()
    {
        while (true)
        {
            Socket client;
            try
            {
                client = await _listener.AcceptAsync();
            }
            catch (Exception e) when (e is SocketException or ObjectDisposedException)
            {
                return;
            }

            Start(client);
        }
    }

    private void Start(Socket client)
    {
        lock (_answering)
        {
            _answering.RemoveWhere(static t => t.IsCompleted);
            _answering.Add(AnswerAsync(client, _ending.Token));
        }
    }

    /// <param name="client">Asks.</param>
    /// <param name="ending">Ends the wait for a question, and no answer.</param>
    private async Task AnswerAsync(Socket client, CancellationToken ending)
    {
        // Not under the lock of whoever accepted it.
        await Task.Yield();
        try
        {
            using var deadline = new CancellationTokenSource(TimeSpan.FromSeconds(10));
            using var asking = CancellationTokenSource.CreateLinkedTokenSource(deadline.Token, ending);
            await using var stream = new NetworkStream(client, ownsSocket: true);
            var word = new byte[16];
            var length = await stream.ReadAsync(word, asking.Token);
            switch (Encoding.ASCII.GetString(word, 0, length).Trim())
            {
                case Status:
                    await stream.WriteAsync(JsonSerializer.SerializeToUtf8Bytes(_control.Status(), JsonModels.Default.HostStatus), deadline.Token);
                    break;
                case Stop:
                    await stream.WriteAsync(Encoding.UTF8.GetBytes(await DoAsync(_control.Stop)), CancellationToken.None);
                    break;
                case HandOver when _control.HandOver is { } handOver:
                    await stream.WriteAsync(Encoding.UTF8.GetBytes(await DoAsync(handOver)), CancellationToken.None);
                    break;
                default:
                    await stream.WriteAsync("unknown word; known are status, stop and, where a device of the kernel is held, handover"u8.ToArray(), deadline.Token);
                    break;
            }
        }
        catch (Exception e) when (e is IOException or OperationCanceledException or SocketException)
        {
            // The client has gone; nobody is left to tell.
        }
    }

    private static async Task<string> DoAsync(Func<Task> what)
    {
        try
        {
            await what();
            return Ok;
        }
        catch (Exception e)
        {
            return e.Message;
        }
    }
}
