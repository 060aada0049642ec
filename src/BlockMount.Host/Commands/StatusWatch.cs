using System.Diagnostics;
using System.Globalization;
using BlockMount.Host.Cli;
using Spectre.Console;

namespace BlockMount.Host.Commands;

/// <summary><c>status --watch</c>: what exports do, every second, until Ctrl+C. A table on a terminal, else a line for each export.</summary>
internal static class StatusWatch
{
    private static readonly TimeSpan s_interval = TimeSpan.FromSeconds(1);

    /// <param name="look">The hosts of the moment.</param>
    /// <param name="cancellationToken">Ends it.</param>
    public static async Task<int> RunAsync(Func<Task<IReadOnlyList<HostStatus>>> look, CancellationToken cancellationToken)
    {
        try
        {
            if (Console.IsOutputRedirected)
            {
                await EachSecondAsync(look, Print, cancellationToken);
            }
            else
            {
                await AnsiConsole.Live(new Text("…")).AutoClear(false).StartAsync(context => EachSecondAsync(
                    look,
                    rows =>
                    {
                        context.UpdateTarget(TableOf(rows));
                        context.Refresh();
                    },
                    cancellationToken));
            }
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            // Ctrl+C is how it is meant to end.
        }

        return ExitCode.Done;
    }

    private static async Task EachSecondAsync(Func<Task<IReadOnlyList<HostStatus>>> look, Action<IReadOnlyList<Row>> show, CancellationToken cancellationToken)
    {
        var before = await look();
        var clock = Stopwatch.StartNew();
        while (true)
        {
            await Task.Delay(s_interval, cancellationToken);
            var now = await look();
            show(RowsOf(before, now, clock.Elapsed.TotalSeconds));
            before = now;
            clock.Restart();
        }
    }

    /// <summary>A row for each export; those that have come since are counted from 0.</summary>
    private static List<Row> RowsOf(IReadOnlyList<HostStatus> before, IReadOnlyList<HostStatus> now, double seconds)
    {
        var old = before.SelectMany(static h => h.Exports, static (h, e) => (Key: (h.Pid, e.Name), Export: e)).ToDictionary(static p => p.Key, static p => p.Export);
        return [.. now.SelectMany(static h => h.Exports, (h, e) =>
        {
            old.TryGetValue((h.Pid, e.Name), out var was);
            return new Row(
                h.Exports.Count == 1 && e.Name.Length == 0 ? h.Name : e.Name, h.Pid, h.Clients.Count(c => c.Export == e.Name), e.Traffic?.InFlight ?? 0,
                Rate(e.Reads, was?.Reads), Rate(e.BytesRead, was?.BytesRead), Rate(e.Writes, was?.Writes), Rate(e.BytesWritten, was?.BytesWritten),
                LatencyOf(e, "read"), LatencyOf(e, "write"));
        })];

        // An export that was replaced begins anew.
        double Rate(long value, long? was) => Math.Max(0, value - (was ?? 0)) / seconds;
    }

    private static string LatencyOf(ExportFacts export, string kind) =>
        export.Traffic is { } traffic && traffic.Operations.TryGetValue(kind, out var facts)
            ? string.Create(CultureInfo.InvariantCulture, $"{facts.P50Us:0}/{facts.P99Us:0} us")
            : "-";

    private static void Print(IReadOnlyList<Row> rows)
    {
        foreach (var r in rows)
        {
            Console.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"{DateTime.Now:HH:mm:ss} {r.Export} pid {r.Pid}: {r.Reads:0} reads/s {SizeText.Show((long)r.BytesRead)}/s {r.ReadLatency}, "
                + $"{r.Writes:0} writes/s {SizeText.Show((long)r.BytesWritten)}/s {r.WriteLatency}, {r.InFlight} in flight, {r.Clients} clients"));
        }

        Console.Out.Flush();
    }

    private static Table TableOf(IReadOnlyList<Row> rows)
    {
        var table = new Table().AddColumns("export", "pid", "clients", "in flight", "reads/s", "read/s", "p50/p99", "writes/s", "written/s", "p50/p99");
        foreach (var r in rows)
        {
            table.AddRow(
                Markup.Escape(TerminalText.Escape(r.Export)), Whole(r.Pid), Whole(r.Clients), Whole(r.InFlight), Whole(r.Reads), SizeText.Show((long)r.BytesRead), r.ReadLatency,
                Whole(r.Writes), SizeText.Show((long)r.BytesWritten), r.WriteLatency);
        }

        return table;

        static string Whole(double value) => value.ToString("0", CultureInfo.InvariantCulture);
    }

    private sealed record Row(
        string Export, int Pid, int Clients, int InFlight, double Reads, double BytesRead, double Writes, double BytesWritten, string ReadLatency, string WriteLatency);
}
