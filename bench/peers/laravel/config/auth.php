<?php

return [
    'defaults' => ['guard' => null],
    'guards' => [],
    'providers' => [],
];
