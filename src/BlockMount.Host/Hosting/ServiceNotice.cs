using System.Diagnostics;
using System.Globalization;
using System.Net.Sockets;
using System.Text;

namespace BlockMount.Host.Hosting;

/// <summary>
/// Tells systemd, or whoever set <c>NOTIFY_SOCKET</c>, how the service is (sd_notify(3)), and shows it signs of life when it asks for them
/// (<c>WATCHDOG_USEC</c>, sd_watchdog_enabled(3)). Does nothing when nobody asked. What cannot be told is nobody's failure.
/// </summary>
internal sealed class ServiceNotice : IDisposable
{
    private const int NanosecondsPerMicrosecond = 1000;
    private const int SignsPerPeriod = 2;

    private readonly string? _path;
    private readonly Func<bool> _isAlive;
    private readonly Timer? _watchdog;

    /// <param name="environment">Reads a variable of the environment.</param>
    /// <param name="isAlive">Asked before each sign of life; blocks, or says no, when the service is stuck.</param>
    public ServiceNotice(Func<string, string?> environment, Func<bool> isAlive)
    {
        _isAlive = isAlive;
        _path = environment("NOTIFY_SOCKET") is { Length: > 1 } path && path[0] is '/' or '@' ? path : null;
        var isOurs = environment("WATCHDOG_PID") is not { Length: > 0 } pid || pid == Environment.ProcessId.ToString(CultureInfo.InvariantCulture);
        if (_path is not null && isOurs && long.TryParse(environment("WATCHDOG_USEC"), NumberStyles.None, CultureInfo.InvariantCulture, out var period) && period > 0)
        {
            var interval = TimeSpan.FromMicroseconds(Math.Clamp((double)period / SignsPerPeriod, 1000, uint.MaxValue));
            _watchdog = new Timer(static notice => ((ServiceNotice)notice!).ShowLife(), this, interval, interval);
        }
    }

    /// <summary>The service can be used.</summary>
    public void Ready(string status) => Send($"READY=1\nMAINPID={Environment.ProcessId}\nSTATUS={OneLine(status)}");

    /// <summary>The configuration is being read again; <see cref="Ready"/> ends it.</summary>
    public void Reloading() => Send(string.Create(
        CultureInfo.InvariantCulture, $"RELOADING=1\nMONOTONIC_USEC={Stopwatch.GetElapsedTime(0).Ticks * 100 / NanosecondsPerMicrosecond}"));

    /// <summary>The service is ending.</summary>
    public void Stopping() => Send("STOPPING=1");

    public void Dispose() => _watchdog?.Dispose();

    private static string OneLine(string text) => text.ReplaceLineEndings(" ");

    private void ShowLife()
    {
        if (_isAlive())
        {
            Send("WATCHDOG=1");
        }
    }

    private void Send(string message)
    {
        if (_path is null)
        {
            return;
        }

        try
        {
            // '@' stands for the zero byte with which a name begins that no file system has.
            var address = new UnixDomainSocketEndPoint(_path[0] == '@' ? '\0' + _path[1..] : _path);
            using var socket = new Socket(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified);
            socket.SendTo(Encoding.UTF8.GetBytes(message), address);
        }
        catch (Exception e) when (e is SocketException or ArgumentException)
        {
            // Whoever wanted to know has gone.
        }
    }
}
