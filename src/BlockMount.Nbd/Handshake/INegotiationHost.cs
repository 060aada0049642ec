using BlockMount.Nbd.Tls;

namespace BlockMount.Nbd.Handshake;

/// <summary>What a negotiation asks of the server it belongs to.</summary>
internal interface INegotiationHost
{
    /// <summary>In the order they are listed.</summary>
    IReadOnlyList<NbdExport> Exports { get; }

    /// <summary>The one that also answers to the empty name when no export is called that; null for none.</summary>
    NbdExport? Default { get; }

    /// <summary>Whether clients may open more than one connection.</summary>
    bool MultiConnection { get; }

    /// <summary>Whether the server takes no new clients because it is stopping.</summary>
    bool IsStopping { get; }

    /// <summary>Whether this client may or must start TLS.</summary>
    NbdTlsMode Tls { get; }

    /// <summary>Takes one of the places for clients; the reason when there is none.</summary>
    string? TryAdmit();
}
