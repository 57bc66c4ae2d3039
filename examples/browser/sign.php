<?php
// Signs a token for a user of this site: what /my/token answers ("Signing a token" in docs/browser.rst).
declare(strict_types=1);

/** @param array<string, mixed> $claims sub, tenant_id, role; and for some queues only: queues */
function callcenter_token(string $secret, array $claims, int $seconds = 600): string
{
    $encode = fn (string $bytes): string => rtrim(strtr(base64_encode($bytes), '+/', '-_'), '=');
    $claims += ['iat' => time(), 'exp' => time() + $seconds, 'jti' => bin2hex(random_bytes(16))];
    $flags = JSON_THROW_ON_ERROR | JSON_UNESCAPED_UNICODE;
    $text = $encode('{"alg":"HS256","typ":"JWT"}') . '.' . $encode(json_encode($claims, $flags));
    return $text . '.' . $encode(hash_hmac('sha256', $text, $secret, true));
}
