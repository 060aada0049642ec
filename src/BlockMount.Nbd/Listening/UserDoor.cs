using System.Net.Sockets;
using BlockMount.Nbd.Transports;
using Microsoft.Extensions.Logging;

namespace BlockMount.Nbd.Listening;

/// <summary>Lets in the processes of certain users, before a byte is exchanged; tells of the others once per user.</summary>
/// <param name="allowed">Numbers of users; null lets everybody in.</param>
/// <param name="log">Hears of those who are kept out.</param>
internal sealed class UserDoor(IReadOnlySet<uint>? allowed, ILogger log)
{
    /// <summary>A host has few users; beyond this the log stays silent.</summary>
    private const int MostNamed = 1000;

    private readonly Lock _lock = new();
    private readonly HashSet<uint?> _named = [];

    public bool Admits(Socket client)
    {
        if (allowed is null)
        {
            return true;
        }

        var credentials = PeerCredentials.Of(client);
        if (credentials is { } known && allowed.Contains(known.User))
        {
            return true;
        }

        bool isNew;
        lock (_lock)
        {
            isNew = _named.Count < MostNamed && _named.Add(credentials?.User);
        }

        if (isNew)
        {
            log.LogWarning("Client {Peer}: refused, only users {Allowed} may connect.", PeerName.Of(client), string.Join(", ", allowed));
        }

        return false;
    }
}
